-- What kept answers saved: requests that cost nothing because their answer was there, and the dollars that they would
-- have cost at the mean price of an answer of the same endpoint.
SELECT
  endpoint_name,
  COUNT(*) AS requests,
  SUM(CASE WHEN cache_hit THEN 1 ELSE 0 END) AS reused,
  ROUND(SUM(CASE WHEN cache_hit THEN 1.0 ELSE 0.0 END) / COUNT(*), 4) AS reused_share,
  CAST(
    SUM(CASE WHEN cache_hit THEN 1 ELSE 0 END) * AVG(CASE WHEN NOT cache_hit THEN cost_usd END) AS DECIMAL(18, 6)
  ) AS saved_usd
FROM system.aiq.calls
WHERE final AND status = 'ok'
GROUP BY endpoint_name
ORDER BY saved_usd DESC NULLS LAST, endpoint_name
