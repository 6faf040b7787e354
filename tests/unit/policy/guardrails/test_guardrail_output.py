"""What happens to an answer before anybody sees it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from aiq.config.endpoint import SideGuardrails
from aiq.errors import GuardrailBlocked
from aiq.request import Answer, Caller, Request, Usage

BLOCK, MASK = SideGuardrails(pii="BLOCK"), SideGuardrails(pii="MASK")


def test_a_clean_answer_passes_as_it_is(world: Any, make_chat: Any, make_answer: Any) -> None:
    answer = make_answer("fine")
    assert asyncio.run(world.guards(None, MASK).check_output(make_chat("x"), answer)).answer is answer


def test_a_masked_answer_carries_labels_and_its_report(world: Any) -> None:
    checked = world.check_answer("it is a@b.com", MASK)
    body = json.loads(checked.answer.raw)
    assert checked.answer.value == body["choices"][0]["message"]["content"] == "it is <EMAIL_ADDRESS>"
    assert body["choices"][0]["finish_reason"] == "stop" and body["output_guardrail"] == checked.report
    assert (checked.report[0]["pii_detection"], checked.report[0]["flagged"]) == (True, False)


def test_a_blocked_answer_says_what_it_cost(world: Any) -> None:
    with pytest.raises(GuardrailBlocked) as caught:
        world.check_answer("it is a@b.com", BLOCK)
    body = json.loads(caught.value.reason)
    assert body["usage"] == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    assert body["finishReason"] == "output_guardrail_triggered" and caught.value.usage == Usage(7, 5)
    assert body["output_guardrail"][0]["anonymized_output"][0]["content"] == "it is <EMAIL_ADDRESS>"


def test_what_another_filter_blocked_is_not_shown_even_masked(world: Any) -> None:
    with pytest.raises(GuardrailBlocked) as caught:
        world.check_answer("secret a@b.com", SideGuardrails(pii="MASK", invalid_keywords=("secret",)))
    assert json.loads(caught.value.reason)["output_guardrail"][0]["anonymized_output"] is None


def test_arguments_of_tool_calls_in_an_answer_are_masked(world: Any, make_chat: Any, make_answer: Any) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"n": 4111111111111111}'}}
    answer = make_answer(None, tool_calls=[call])
    checked = asyncio.run(world.guards(None, MASK).check_output(make_chat("x"), answer))
    message = json.loads(checked.answer.raw)["choices"][0]["message"]
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"n": "<CREDIT_CARD>"}


def test_structured_output_stays_json(world: Any, make_chat: Any, make_answer: Any) -> None:
    request = make_chat("x", response_format={"type": "json_schema", "json_schema": {}})
    answer = make_answer('{"mail": "a@b.com", "card": 4111111111111111}')
    checked = asyncio.run(world.guards(None, MASK).check_output(request, answer))
    assert json.loads(checked.answer.value) == {"mail": "<EMAIL_ADDRESS>", "card": "<CREDIT_CARD>"}


def test_every_choice_is_masked_and_its_logprobs_are_dropped(world: Any, make_chat: Any) -> None:
    choices = [{"message": {"content": text}, "logprobs": {"content": [{"token": text}]}} for text in ("x", "a@b.com")]
    answer = Answer("x", Usage(1, 1), "gpt", "stop", json.dumps({"choices": choices}))
    checked = asyncio.run(world.guards(None, MASK).check_output(make_chat("x"), answer))
    assert "a@b.com" not in checked.answer.raw and "<EMAIL_ADDRESS>" in checked.answer.raw


def test_a_body_without_choices_is_written_anew(world: Any, make_chat: Any) -> None:
    answer = Answer("a@b.com", Usage(1, 1), "gpt", "stop", '{"text": "a@b.com"}')
    checked = asyncio.run(world.guards(None, MASK).check_output(make_chat("x"), answer))
    assert "a@b.com" not in checked.answer.raw and checked.answer.value == "<EMAIL_ADDRESS>"


def test_embeddings_pass_the_guards_of_the_output(world: Any) -> None:
    request = Request("chat", "llm/v1/embeddings", {"input": ["x"]}, Caller("ann"), "s1")
    answer = Answer([[4111111111111111.0]], Usage(1, 0), "e", None, "{}")
    assert asyncio.run(world.guards(None, BLOCK).check_output(request, answer)).answer is answer
