-- Answers whose cost is not known, and why: models without a price, tokens that the provider did not count. Give a
-- model its price under `prices` in conf/aiq.yml; calls from then on have a cost.
SELECT
  endpoint_name,
  provider,
  model,
  unpriced AS reason,
  COUNT(*) AS answers,
  SUM(COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0)) AS tokens,
  MAX(start_time) AS last_time
FROM system.aiq.calls
WHERE status = 'ok' AND attempt > 0 AND NOT cache_hit AND cost_usd IS NULL
GROUP BY endpoint_name, provider, model, unpriced
ORDER BY answers DESC, endpoint_name, provider, model, reason
