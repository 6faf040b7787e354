-- What it takes to get an answer: provider calls for each request, and how many calls were retries at the same entity,
-- fallbacks to another one, hedges (second requests because an answer was late), repairs of answers and probes.
SELECT
  endpoint_name,
  COUNT(DISTINCT request_id) AS requests,
  COUNT(*) AS provider_calls,
  ROUND(COUNT(*) / NULLIF(CAST(COUNT(DISTINCT request_id) AS DOUBLE), 0), 3) AS calls_per_request,
  SUM(CASE WHEN final THEN 0 ELSE 1 END) AS not_the_last,
  SUM(CASE WHEN route = 'fallback' THEN 1 ELSE 0 END) AS fallbacks,
  SUM(CASE WHEN route = 'hedge' THEN 1 ELSE 0 END) AS hedges,
  SUM(CASE WHEN route = 'repair' THEN 1 ELSE 0 END) AS repairs,
  SUM(CASE WHEN route = 'probe' THEN 1 ELSE 0 END) AS probes
FROM system.aiq.calls
WHERE attempt > 0
GROUP BY endpoint_name
ORDER BY calls_per_request DESC, endpoint_name
