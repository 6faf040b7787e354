-- The ten calls that cost most for each SQL row they answered (an embeddings call answers many), with enough to find
-- them again: request_id is databricks_request_id in the payload and usage tables, statement_id tells which
-- statement asked.
SELECT
  request_id,
  endpoint_name,
  model,
  requester,
  rows AS sql_rows,
  input_tokens,
  output_tokens,
  CAST(cost_usd AS DECIMAL(18, 8)) AS cost_usd,
  CAST(cost_usd / NULLIF(rows, 0) AS DECIMAL(18, 8)) AS usd_per_row,
  ROUND(latency_ms, 1) AS latency_ms,
  statement_id
FROM system.aiq.calls
WHERE cost_usd IS NOT NULL
ORDER BY usd_per_row DESC NULLS LAST, request_id
LIMIT 10
