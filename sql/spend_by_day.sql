-- Dollars and tokens by day (UTC), endpoint and requester: the table behind a budget or an alert.
SELECT
  CAST(start_time AS DATE) AS day,
  endpoint_name,
  requester,
  COUNT(DISTINCT request_id) AS requests,
  SUM(COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0)) AS tokens,
  CAST(SUM(cost_usd) AS DECIMAL(18, 6)) AS cost_usd
FROM system.aiq.calls
WHERE attempt > 0
GROUP BY CAST(start_time AS DATE), endpoint_name, requester
ORDER BY day DESC, cost_usd DESC NULLS LAST, endpoint_name, requester
