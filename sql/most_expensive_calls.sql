-- The ten calls that cost most, with enough to find them again: request_id is databricks_request_id in the
-- payload and usage tables, statement_id tells which statement asked.
SELECT
  request_id,
  endpoint_name,
  model,
  requester,
  rows AS sql_rows,
  input_tokens,
  output_tokens,
  ROUND(cost_usd, 8) AS cost_usd,
  ROUND(latency_ms, 1) AS latency_ms,
  statement_id
FROM system.aiq.calls
WHERE cost_usd IS NOT NULL
ORDER BY cost_usd DESC, request_id
LIMIT 10
