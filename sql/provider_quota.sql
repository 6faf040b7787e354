-- How much of a provider's quota is used: the busiest minute of each served entity in calls and in tokens, its mean
-- over the minutes in which it was asked, and how often the provider said that there were too many (HTTP 429).
SELECT
  endpoint_name,
  served_entity_name,
  provider,
  COUNT(*) AS busy_minutes,
  MAX(calls) AS most_calls_per_minute,
  ROUND(AVG(calls), 1) AS mean_calls_per_minute,
  MAX(tokens) AS most_tokens_per_minute,
  ROUND(AVG(tokens), 1) AS mean_tokens_per_minute,
  SUM(rate_limited) AS rate_limited,
  MAX(CASE WHEN rate_limited > 0 THEN minute END) AS last_rate_limited
FROM (
  SELECT
    endpoint_name,
    served_entity_name,
    provider,
    DATE_TRUNC('MINUTE', start_time) AS minute,
    COUNT(*) AS calls,
    SUM(COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0)) AS tokens,
    SUM(CASE WHEN status_code = 429 THEN 1 ELSE 0 END) AS rate_limited
  FROM system.aiq.calls
  WHERE attempt > 0
  GROUP BY endpoint_name, served_entity_name, provider, DATE_TRUNC('MINUTE', start_time)
) AS minutes
GROUP BY endpoint_name, served_entity_name, provider
ORDER BY rate_limited DESC, most_calls_per_minute DESC, endpoint_name, served_entity_name
