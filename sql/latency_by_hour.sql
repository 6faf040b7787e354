-- How long answers took, in milliseconds, by hour (UTC) and endpoint. Answers that were reused do not count.
SELECT
  DATE_TRUNC('HOUR', start_time) AS hour,
  endpoint_name,
  COUNT(*) AS answers,
  ROUND(PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY latency_ms), 1) AS p50_ms,
  ROUND(PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY latency_ms), 1) AS p95_ms,
  ROUND(PERCENTILE_CONT(0.99) WITHIN GROUP (ORDER BY latency_ms), 1) AS p99_ms
FROM system.aiq.calls
WHERE status = 'ok' AND latency_ms IS NOT NULL AND NOT cache_hit
GROUP BY DATE_TRUNC('HOUR', start_time), endpoint_name
ORDER BY hour DESC, endpoint_name
