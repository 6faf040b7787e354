-- Who used which endpoint how much: requests, tokens, and the share that failed.
-- Reads system.serving.endpoint_usage, one row a request of endpoints with usage tracking, and
-- system.serving.served_entities for the names. On Databricks it runs unchanged over the tables there.
SELECT
  entity.endpoint_name,
  usage.requester,
  COUNT(*) AS requests,
  SUM(CASE WHEN usage.status_code = 200 THEN 0 ELSE 1 END) AS failed,
  SUM(COALESCE(usage.input_token_count, 0)) AS input_tokens,
  SUM(COALESCE(usage.output_token_count, 0)) AS output_tokens
FROM system.serving.endpoint_usage AS usage
LEFT JOIN (
  -- an entity has a row for every change of its configuration, all with the same endpoint
  SELECT served_entity_id, MAX(endpoint_name) AS endpoint_name
  FROM system.serving.served_entities
  GROUP BY served_entity_id
) AS entity
  ON entity.served_entity_id = usage.served_entity_id
GROUP BY entity.endpoint_name, usage.requester
ORDER BY requests DESC, entity.endpoint_name, usage.requester
