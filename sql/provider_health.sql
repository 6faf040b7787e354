-- How well each served entity answers: the share of calls that failed and why, how many requests left it for another
-- entity, the 95th percentile of its latency in milliseconds, its last answer and its last failure.
SELECT
  endpoint_name,
  served_entity_name,
  provider,
  COUNT(*) AS provider_calls,
  SUM(CASE WHEN status = 'error' THEN 1 ELSE 0 END) AS failed,
  ROUND(SUM(CASE WHEN status = 'error' THEN 1.0 ELSE 0.0 END) / COUNT(*), 4) AS failed_share,
  SUM(CASE WHEN status_code = 429 THEN 1 ELSE 0 END) AS rate_limited,
  SUM(CASE WHEN error_class = 'timeout' THEN 1 ELSE 0 END) AS timeouts,
  SUM(CASE WHEN status = 'error' AND NOT final THEN 1 ELSE 0 END) AS tried_again,
  ROUND(PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY CASE WHEN status = 'ok' THEN latency_ms END), 1) AS p95_ms,
  MAX(CASE WHEN status = 'ok' THEN start_time END) AS last_answer,
  MAX(CASE WHEN status = 'error' THEN start_time END) AS last_failure
FROM system.aiq.calls
WHERE attempt > 0
GROUP BY endpoint_name, served_entity_name, provider
ORDER BY failed_share DESC, endpoint_name, served_entity_name
