-- Output tokens a second by model, over the whole of each call and so with the provider's time before the first token.
SELECT
  provider,
  model,
  COUNT(*) AS answers,
  SUM(output_tokens) AS output_tokens,
  ROUND(SUM(output_tokens) / NULLIF(SUM(latency_ms) / 1000, 0), 1) AS tokens_per_second,
  ROUND(AVG(time_to_first_token_ms), 1) AS mean_first_token_ms
FROM system.aiq.calls
WHERE status = 'ok' AND output_tokens > 0 AND latency_ms IS NOT NULL
GROUP BY provider, model
ORDER BY tokens_per_second DESC NULLS LAST, provider, model
