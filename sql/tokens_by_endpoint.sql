-- Tokens by endpoint and model: cached and written ones are part of the input, reasoning is part of the output.
SELECT
  endpoint_name,
  model,
  SUM(COALESCE(input_tokens, 0)) AS input_tokens,
  SUM(COALESCE(cached_tokens, 0)) AS cached_tokens,
  SUM(COALESCE(cache_write_tokens, 0)) AS cache_write_tokens,
  SUM(COALESCE(output_tokens, 0)) AS output_tokens,
  SUM(COALESCE(reasoning_tokens, 0)) AS reasoning_tokens,
  ROUND(AVG(input_tokens), 1) AS mean_input_tokens,
  ROUND(AVG(output_tokens), 1) AS mean_output_tokens,
  SUM(CASE WHEN tokens_estimated THEN 1 ELSE 0 END) AS estimated_calls
FROM system.aiq.calls
WHERE attempt > 0
GROUP BY endpoint_name, model
ORDER BY input_tokens DESC, endpoint_name, model
