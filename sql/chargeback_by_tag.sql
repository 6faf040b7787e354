-- Who pays: dollars, tokens and requests by the tags of the calls (`SET`, a hint, --usage-context). `project` is the tag
-- of that name; put another name there to charge by it. `tags` are all tags of a call.
SELECT
  COALESCE(usage_context['project'], '(none)') AS project,
  CASE WHEN CARDINALITY(usage_context) > 0 THEN CAST(TO_JSON(usage_context) AS STRING) ELSE '(none)' END AS tags,
  COUNT(DISTINCT request_id) AS requests,
  SUM(COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0)) AS tokens,
  CAST(SUM(cost_usd) AS DECIMAL(18, 6)) AS cost_usd,
  SUM(CASE WHEN status = 'ok' AND NOT cache_hit AND cost_usd IS NULL THEN 1 ELSE 0 END) AS unpriced
FROM system.aiq.calls
GROUP BY 1, 2
ORDER BY cost_usd DESC NULLS LAST, project, tags
