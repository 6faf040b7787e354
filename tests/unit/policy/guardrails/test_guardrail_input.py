"""What happens to a request before it is sent: passed, masked or blocked, in Databricks' words."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from aiq.config.endpoint import SideGuardrails
from aiq.errors import GuardrailBlocked, PolicyError
from aiq.request import Caller, Request

BLOCK, MASK = SideGuardrails(pii="BLOCK"), SideGuardrails(pii="MASK")
PROMPT = "I am jane@example.com with card 4111 1111 1111 1111"
MASKED = "I am <EMAIL_ADDRESS> with card <CREDIT_CARD>"


def test_guards_without_filters_are_not_active(world: Any) -> None:
    guards = world.guards()
    assert (guards.input_active, guards.output_active) == (False, False)


def test_a_clean_request_passes_as_it_is(world: Any, make_chat: Any) -> None:
    request = make_chat("hello")
    checked = asyncio.run(world.guards(MASK).check_input(request))
    assert checked.request is request and (checked.acted, checked.report) == ((), None)


def test_a_pii_block_has_the_body_of_databricks(world: Any) -> None:
    with pytest.raises(GuardrailBlocked) as caught:
        world.check(PROMPT, SideGuardrails(pii="BLOCK", invalid_keywords=("forbidden",)))
    assert (caught.value.status, caught.value.error_code, caught.value.side) == (400, "BAD_REQUEST", "input")
    assert json.loads(caught.value.reason) == {
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
        "input_guardrail": [
            {
                "flagged": False,
                "categories": None,
                "category_scores": None,
                "pii_detection": True,
                "anonymized_input": [{"role": "user", "content": MASKED}],
                "invalid_keywords": False,
                "off_topic": None,
            }
        ],
        "finishReason": "input_guardrail_triggered",
    }


def test_a_block_is_a_policy_error_that_says_what_to_do_in_sql(world: Any) -> None:
    with pytest.raises(PolicyError) as caught:
        world.check(PROMPT, BLOCK)
    message = caught.value.sql_message()
    assert "failed with code 400" in message and "personal data (CREDIT_CARD, EMAIL_ADDRESS)" in message
    assert "ai_gateway.guardrails.input.pii.behavior to MASK" in message and "jane" not in message


def test_a_block_names_what_acted(world: Any) -> None:
    with pytest.raises(GuardrailBlocked) as caught:
        world.check(PROMPT, BLOCK)
    assert caught.value.findings == ("pii:CREDIT_CARD", "pii:EMAIL_ADDRESS")


def test_blocked_content_is_kept_only_where_it_may_be_logged(world: Any) -> None:
    kept = []
    for log_blocked in (False, True):
        with pytest.raises(GuardrailBlocked) as caught:
            world.check(PROMPT, BLOCK, log_blocked=log_blocked)
        kept.append(caught.value.blocked)
    assert kept[0] is None and json.loads(kept[1]) == {"messages": [{"role": "user", "content": PROMPT}]}


def test_a_masked_request_carries_labels(world: Any) -> None:
    checked = world.check(PROMPT, MASK)
    assert checked.request.body["messages"] == [{"role": "user", "content": MASKED}]
    assert checked.acted == ("pii:CREDIT_CARD", "pii:EMAIL_ADDRESS") and checked.report[0]["pii_detection"] is True


def test_masking_leaves_the_given_body_alone(world: Any, make_chat: Any) -> None:
    request = make_chat(PROMPT, temperature=0)
    checked = asyncio.run(world.guards(MASK).check_input(request))
    assert request.body["messages"][0]["content"] == PROMPT and checked.request.body["temperature"] == 0


def test_text_parts_are_masked_and_images_are_left_alone(world: Any) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,4111111111111111"}}
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a@b.com"}, image]}]}
    request = Request("chat", "llm/v1/chat", body, Caller("ann"), "s1")
    checked = asyncio.run(world.guards(MASK).check_input(request))
    assert checked.request.body["messages"][0]["content"] == [{"type": "text", "text": "<EMAIL_ADDRESS>"}, image]


def test_arguments_of_tool_calls_are_masked_and_still_json(world: Any) -> None:
    arguments = '{"to": "a@b.com", "card": 4111111111111111, "n": 3}'
    call = {"id": "c1", "type": "function", "function": {"name": "send", "arguments": arguments}}
    body = {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    request = Request("chat", "llm/v1/chat", body, Caller("ann"), "s1")
    checked = asyncio.run(world.guards(MASK).check_input(request))
    masked = checked.request.body["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(masked) == {"to": "<EMAIL_ADDRESS>", "card": "<CREDIT_CARD>", "n": 3}


@pytest.mark.parametrize(
    ("task", "body", "masked"),
    [
        ("llm/v1/completions", {"prompt": "a@b.com"}, {"prompt": "<EMAIL_ADDRESS>"}),
        ("llm/v1/embeddings", {"input": ["x", "a@b.com"]}, {"input": ["x", "<EMAIL_ADDRESS>"]}),
        (
            "custom",
            {"dataframe_split": {"data": [["a@b.com", 1]]}},
            {"dataframe_split": {"data": [["<EMAIL_ADDRESS>", 1]]}},
        ),
        ("custom", {"inputs": {"type": "a@b.com"}}, {"inputs": {"type": "<EMAIL_ADDRESS>"}}),
    ],
)
def test_every_task_is_masked(world: Any, task: Any, body: dict[str, Any], masked: dict[str, Any]) -> None:
    request = Request("chat", task, body, Caller("ann"), "s1")
    assert asyncio.run(world.guards(MASK).check_input(request)).request.body == masked


@pytest.mark.parametrize("body", [{"input": [1, 2]}, {"input": [[1, 2]]}, {"prompt": [1]}])
def test_token_numbers_that_nobody_can_read_are_blocked(world: Any, body: dict[str, Any]) -> None:
    request = Request("chat", "llm/v1/embeddings", body, Caller("ann"), "s1")
    with pytest.raises(GuardrailBlocked, match="send text"):
        asyncio.run(world.guards(MASK).check_input(request))


def test_a_keyword_blocks_with_its_flag(world: Any) -> None:
    with pytest.raises(GuardrailBlocked) as caught:
        world.check("the SECRET plan", SideGuardrails(invalid_keywords=("secret",)))
    element = json.loads(caught.value.reason)["input_guardrail"][0]
    assert (element["invalid_keywords"], element["flagged"], element["pii_detection"]) == (True, False, None)
    assert caught.value.findings == ("invalid_keywords",) and element["anonymized_input"] is None


def test_a_long_text_is_read_off_the_loop(world: Any, make_chat: Any) -> None:
    guards, threads = world.guards(MASK), []

    async def run(function: Any) -> Any:
        threads.append(function)
        return function()

    guards._run_off_loop = run
    checked = asyncio.run(guards.check_input(make_chat("word " * 1000 + PROMPT)))
    assert len(threads) == 1 and checked.request.body["messages"][0]["content"].endswith(MASKED)


def test_a_text_without_suspicion_stays_on_the_loop_until_it_is_very_long(world: Any, make_chat: Any) -> None:
    guards, lengths = world.guards(MASK), []

    async def run(function: Any) -> Any:
        lengths.append(sum(len(piece.text) for piece in function.args[0]))
        return function()

    guards._run_off_loop = run
    for words in (3000, 5000):
        asyncio.run(guards.check_input(make_chat("word " * words)))
    assert lengths == [25_000]


def test_a_short_text_is_read_on_the_loop(world: Any, make_chat: Any) -> None:
    guards = world.guards(SideGuardrails(pii="MASK", invalid_keywords=("x",)))

    async def refuse(function: Any) -> Any:
        raise AssertionError("left the loop")

    guards._run_off_loop = refuse
    assert asyncio.run(guards.check_input(make_chat(PROMPT))).acted[0] == "pii:CREDIT_CARD"


def test_a_filter_that_crashes_blocks(world: Any, make_chat: Any) -> None:
    guards = world.guards(BLOCK)

    async def crash(function: Any) -> Any:
        raise MemoryError

    guards._run_off_loop = crash
    with pytest.raises(GuardrailBlocked, match="the guard pii failed \\(MemoryError\\)"):
        asyncio.run(guards.check_input(make_chat("word " * 1000 + PROMPT)))
