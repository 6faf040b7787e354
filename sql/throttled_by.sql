-- Who is throttled by what: requests that waited for a rate limit or were refused by one, by endpoint, limit and
-- requester, and how long they waited.
SELECT
  endpoint_name,
  limited_by,
  requester,
  COUNT(*) AS requests,
  SUM(CASE WHEN status = 'refused' THEN 1 ELSE 0 END) AS refused,
  ROUND(SUM(limit_wait_ms) / 1000, 1) AS waited_s,
  ROUND(MAX(limit_wait_ms) / 1000, 1) AS longest_wait_s,
  MAX(start_time) AS last_time
FROM system.aiq.calls
WHERE limited_by IS NOT NULL AND final
GROUP BY endpoint_name, limited_by, requester
ORDER BY refused DESC, waited_s DESC, endpoint_name, limited_by, requester
