-- What guardrails did, by hour (UTC) and endpoint: requests that were blocked, and requests that were answered after
-- something in them was masked.
SELECT
  DATE_TRUNC('HOUR', start_time) AS hour,
  endpoint_name,
  guards,
  SUM(CASE WHEN status = 'refused' THEN 1 ELSE 0 END) AS blocked,
  SUM(CASE WHEN status = 'ok' THEN 1 ELSE 0 END) AS masked
FROM system.aiq.calls
WHERE guards IS NOT NULL AND final
GROUP BY DATE_TRUNC('HOUR', start_time), endpoint_name, guards
ORDER BY hour DESC, endpoint_name, guards
