-- The twenty statements that cost most, with what they asked and reused. NULL cost: the price of one call is not known.
SELECT
  statement_id,
  start_time,
  requester,
  engine,
  status,
  requests,
  reused,
  failed,
  tokens,
  CAST(cost_usd AS DECIMAL(18, 6)) AS cost_usd,
  text
FROM system.aiq.statements
ORDER BY cost_usd DESC NULLS LAST, statement_id
LIMIT 20
