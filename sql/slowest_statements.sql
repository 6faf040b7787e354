-- The twenty statements that took longest, in whole seconds, with what they asked, reused and cost.
SELECT
  statement_id,
  start_time,
  requester,
  status,
  CAST(
    EXTRACT(DAY FROM end_time - start_time) * 86400
    + EXTRACT(HOUR FROM end_time - start_time) * 3600
    + EXTRACT(MINUTE FROM end_time - start_time) * 60
    + FLOOR(EXTRACT(SECOND FROM end_time - start_time)) AS BIGINT
  ) AS seconds,
  requests,
  reused,
  failed,
  CAST(cost_usd AS DECIMAL(18, 6)) AS cost_usd,
  text
FROM system.aiq.statements
WHERE end_time IS NOT NULL
ORDER BY end_time - start_time DESC, statement_id
LIMIT 20
