-- Where the time of an answer goes, in milliseconds on average: waiting for rate limits, for a place in flight, for the
-- provider; and until the first token of those that came as a stream.
SELECT
  endpoint_name,
  served_entity_name,
  COUNT(*) AS answers,
  ROUND(AVG(limit_wait_ms), 1) AS mean_limit_wait_ms,
  ROUND(AVG(queue_ms), 1) AS mean_queue_ms,
  ROUND(AVG(latency_ms), 1) AS mean_latency_ms,
  ROUND(AVG(time_to_first_token_ms), 1) AS mean_first_token_ms
FROM system.aiq.calls
WHERE status = 'ok' AND attempt > 0
GROUP BY endpoint_name, served_entity_name
ORDER BY endpoint_name, served_entity_name
