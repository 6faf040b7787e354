-- Which fallback fired: attempts that an entity got because another one failed, why, and how they ended. `hedge` are
-- second requests to an entity whose answer was late.
SELECT
  endpoint_name,
  fallback_from,
  served_entity_name,
  route,
  fallback_reason,
  COUNT(*) AS attempts,
  SUM(CASE WHEN status = 'ok' THEN 1 ELSE 0 END) AS answered,
  CAST(SUM(cost_usd) AS DECIMAL(18, 6)) AS cost_usd,
  MAX(start_time) AS last_time
FROM system.aiq.calls
WHERE fallback_from IS NOT NULL OR route IN ('fallback', 'hedge')
GROUP BY endpoint_name, fallback_from, served_entity_name, route, fallback_reason
ORDER BY attempts DESC, endpoint_name, fallback_from, served_entity_name
