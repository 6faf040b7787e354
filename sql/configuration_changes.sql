-- When the configuration of endpoints changed: each version, the entities it serves, and who was seen to change it.
SELECT
  change_time,
  endpoint_name,
  endpoint_config_version,
  served_entity_name,
  entity_name AS model,
  task,
  created_by,
  endpoint_delete_time
FROM system.serving.served_entities
ORDER BY change_time DESC, endpoint_name, endpoint_config_version DESC, served_entity_name
