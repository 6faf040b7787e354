-- Every logged request with its answer, tokens and cost side by side, the newest first.
-- main.aiq.chat_payload is the inference table of the sample endpoint `chat`; put the name of your own there.
SELECT
  payload.request_time,
  payload.requester,
  calls.model,
  payload.status_code,
  calls.input_tokens,
  calls.output_tokens,
  calls.cost_usd,
  payload.request,
  payload.response
FROM main.aiq.chat_payload AS payload
LEFT JOIN system.aiq.calls AS calls
  ON calls.request_id = payload.databricks_request_id AND calls.final
ORDER BY payload.request_time DESC
LIMIT 20
