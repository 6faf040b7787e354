-- The twenty requesters that spent most: requests, tokens, dollars, and how many of their requests failed.
SELECT
  requester,
  COUNT(DISTINCT request_id) AS requests,
  SUM(CASE WHEN final AND status <> 'ok' THEN 1 ELSE 0 END) AS failed,
  SUM(COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0)) AS tokens,
  CAST(SUM(cost_usd) AS DECIMAL(18, 6)) AS cost_usd,
  MAX(start_time) AS last_time
FROM system.aiq.calls
GROUP BY requester
ORDER BY cost_usd DESC NULLS LAST, requests DESC, requester
LIMIT 20
