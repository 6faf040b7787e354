-- How long the providers took to answer, in milliseconds, and how long requests waited before they were sent:
-- queue_ms for a free connection, limit_wait_ms for the endpoint's rate limits.
SELECT
  endpoint_name,
  model,
  COUNT(*) AS answers,
  ROUND(PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY latency_ms), 1) AS p50_ms,
  ROUND(PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY latency_ms), 1) AS p90_ms,
  ROUND(PERCENTILE_CONT(0.99) WITHIN GROUP (ORDER BY latency_ms), 1) AS p99_ms,
  ROUND(MAX(latency_ms), 1) AS max_ms,
  ROUND(AVG(queue_ms), 1) AS mean_queue_ms,
  ROUND(AVG(limit_wait_ms), 1) AS mean_limit_wait_ms
FROM system.aiq.calls
WHERE status = 'ok' AND latency_ms IS NOT NULL
GROUP BY endpoint_name, model
ORDER BY endpoint_name, model
