-- How requests ended, by hour (UTC) and endpoint: answered by a provider, reused, failed, refused by a limit, guardrail
-- or permission, cancelled, or orphaned (the process died).
SELECT
  DATE_TRUNC('HOUR', start_time) AS hour,
  endpoint_name,
  COUNT(*) AS requests,
  SUM(CASE WHEN status = 'ok' AND NOT cache_hit THEN 1 ELSE 0 END) AS answered,
  SUM(CASE WHEN cache_hit THEN 1 ELSE 0 END) AS reused,
  SUM(CASE WHEN status = 'error' THEN 1 ELSE 0 END) AS failed,
  SUM(CASE WHEN status = 'refused' THEN 1 ELSE 0 END) AS refused,
  SUM(CASE WHEN status = 'cancelled' THEN 1 ELSE 0 END) AS cancelled,
  SUM(CASE WHEN status = 'orphaned' THEN 1 ELSE 0 END) AS orphaned
FROM system.aiq.calls
WHERE final
GROUP BY DATE_TRUNC('HOUR', start_time), endpoint_name
ORDER BY hour DESC, endpoint_name
