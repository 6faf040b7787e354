-- The last 24 hours and the 24 hours before them: requests, the share that failed, reused answers, tokens, dollars.
SELECT
  CASE
    WHEN start_time >= CURRENT_TIMESTAMP - INTERVAL 1 DAY THEN 'last 24 hours'
    ELSE '24 hours before'
  END AS period,
  SUM(CASE WHEN final THEN 1 ELSE 0 END) AS requests,
  SUM(CASE WHEN final AND status <> 'ok' THEN 1 ELSE 0 END) AS failed,
  ROUND(
    SUM(CASE WHEN final AND status <> 'ok' THEN 1.0 ELSE 0.0 END) / NULLIF(SUM(CASE WHEN final THEN 1 ELSE 0 END), 0), 4
  ) AS failed_share,
  SUM(CASE WHEN cache_hit THEN 1 ELSE 0 END) AS reused,
  SUM(COALESCE(input_tokens, 0)) AS input_tokens,
  SUM(COALESCE(output_tokens, 0)) AS output_tokens,
  CAST(SUM(cost_usd) AS DECIMAL(18, 6)) AS cost_usd
FROM system.aiq.calls
WHERE start_time >= CURRENT_TIMESTAMP - INTERVAL 2 DAY
GROUP BY 1
ORDER BY period DESC
