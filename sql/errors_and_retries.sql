-- What went wrong and what it took to get past it: attempts by error class and status, how many were retried
-- (another attempt followed), how many came through a fallback, and when it last happened.
SELECT
  endpoint_name,
  served_entity_name,
  status,
  error_class,
  status_code,
  COUNT(*) AS attempts,
  SUM(CASE WHEN final THEN 0 ELSE 1 END) AS retried,
  SUM(CASE WHEN fallback_from IS NULL THEN 0 ELSE 1 END) AS after_fallback,
  MAX(start_time) AS last_time,
  MAX(error_message) AS an_error_message
FROM system.aiq.calls
WHERE status <> 'ok'
GROUP BY endpoint_name, served_entity_name, status, error_class, status_code
ORDER BY attempts DESC, endpoint_name, served_entity_name
