-- What guardrails did: requests and answers that were blocked or masked, by endpoint and guard. A request on which
-- several acted is counted once for each set of them.
SELECT
  endpoint_name,
  guards,
  COUNT(*) AS requests,
  SUM(CASE WHEN status = 'refused' THEN 1 ELSE 0 END) AS blocked,
  SUM(CASE WHEN status = 'ok' THEN 1 ELSE 0 END) AS masked,
  COUNT(DISTINCT requester) AS requesters,
  MAX(start_time) AS last_time
FROM system.aiq.calls
WHERE guards IS NOT NULL AND final
GROUP BY endpoint_name, guards
ORDER BY blocked DESC, requests DESC, endpoint_name, guards
