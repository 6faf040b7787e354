-- US dollars and tokens by hour (UTC), endpoint and model: what a chart of spend over time is drawn from. Of attempts
-- whose cost is not known, unpriced says how many there are.
SELECT
  DATE_TRUNC('HOUR', start_time) AS hour,
  endpoint_name,
  model,
  COUNT(*) AS provider_calls,
  SUM(COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0)) AS tokens,
  CAST(SUM(cost_usd) AS DECIMAL(18, 6)) AS cost_usd,
  SUM(CASE WHEN status = 'ok' AND cost_usd IS NULL THEN 1 ELSE 0 END) AS unpriced
FROM system.aiq.calls
WHERE attempt > 0
GROUP BY DATE_TRUNC('HOUR', start_time), endpoint_name, model
ORDER BY hour DESC, cost_usd DESC NULLS LAST, endpoint_name, model
