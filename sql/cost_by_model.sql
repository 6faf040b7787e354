-- What each model cost, in US dollars, and per thousand SQL rows it answered.
-- A model without a price has unpriced requests and no part in cost_usd; give it one under `prices` in conf/aiq.yml.
SELECT
  endpoint_name,
  provider,
  model,
  COUNT(*) AS provider_calls,
  SUM(rows) AS sql_rows,
  SUM(COALESCE(input_tokens, 0)) AS input_tokens,
  SUM(COALESCE(output_tokens, 0)) AS output_tokens,
  CAST(SUM(cost_usd) AS DECIMAL(18, 6)) AS cost_usd,
  CAST(
    1000 * SUM(cost_usd) / NULLIF(SUM(CASE WHEN cost_usd IS NULL THEN 0 ELSE rows END), 0) AS DECIMAL(18, 6)
  ) AS usd_per_1000_rows,
  SUM(CASE WHEN status = 'ok' AND cost_usd IS NULL THEN 1 ELSE 0 END) AS unpriced
FROM system.aiq.calls
WHERE attempt > 0
GROUP BY endpoint_name, provider, model
ORDER BY cost_usd DESC NULLS LAST, endpoint_name, model
