-- Statements that have asked and not yet ended: requests, tokens and dollars so far. `text` is known where the same
-- text ran before. Calls of a long statement come here while it runs; of a short one all come with its end.
SELECT
  running.statement_id,
  running.requester,
  running.first_call,
  running.last_call,
  running.requests,
  running.tokens,
  running.cost_usd,
  known.text
FROM (
  SELECT
    statement_id,
    MAX(statement_hash) AS statement_hash,
    MAX(requester) AS requester,
    MIN(start_time) AS first_call,
    MAX(start_time) AS last_call,
    COUNT(DISTINCT request_id) AS requests,
    SUM(COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0)) AS tokens,
    CAST(SUM(cost_usd) AS DECIMAL(18, 6)) AS cost_usd
  FROM system.aiq.calls
  WHERE statement_id IS NOT NULL AND statement_hash IS NOT NULL
  GROUP BY statement_id
) AS running
LEFT JOIN (
  SELECT statement_hash, MAX(text) AS text
  FROM system.aiq.statements
  GROUP BY statement_hash
) AS known
  ON known.statement_hash = running.statement_hash
WHERE NOT EXISTS (
  SELECT 1 FROM system.aiq.statements AS ended WHERE ended.statement_id = running.statement_id
)
ORDER BY running.first_call, running.statement_id
