"""What the simulated model says beside texts: calls of tools, thoughts, what is cached, and JSON that is not right."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.simulator.cache import PromptCache
from aiq.simulator.exchange import VendorCall
from aiq.simulator.profile import Profile
from aiq.simulator.provider import Provider
from aiq.simulator.tokens import chat_tokens, reasoning_tokens, text_tokens

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS, "strict": True}}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}


def _user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _ask(provider: Provider | None = None, **body: Any) -> Any:
    data = orjson.dumps({"model": "gpt-4o-mini", **body})
    call = VendorCall(b"POST", b"/v1/chat/completions", {b"authorization": b"Bearer sk-12345678"}, data)
    provider = provider or Provider(Profile())
    reply = provider.handle(call)
    provider.finish(reply, reply.status)
    if reply.pieces is None:
        return orjson.loads(reply.body)
    return [orjson.loads(piece[6:]) for piece in reply.pieces if b"[DONE]" not in piece]


def _calls(answer: Any) -> list[tuple[str, Any]]:
    calls = answer["choices"][0]["message"].get("tool_calls", [])
    return [(call["function"]["name"], orjson.loads(call["function"]["arguments"])) for call in calls]


def test_a_prompt_that_names_a_tool_has_it_called_with_conforming_arguments() -> None:
    answer = _ask(messages=_user("Please call get_weather for Rome."), tools=[WEATHER, TIME])
    ((name, arguments),) = _calls(answer)
    assert (name, arguments.keys()) == ("get_weather", {"city", "days"}) and 1 <= arguments["days"] <= 7
    assert (answer["choices"][0]["finish_reason"], answer["choices"][0]["message"]["content"]) == ("tool_calls", None)


def test_a_prompt_that_names_no_tool_is_answered_in_words() -> None:
    assert _calls(_ask(messages=_user("How are you?"), tools=[WEATHER])) == []


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"]),
    ],
)
def test_tool_choice_decides(choice: Any, called: list[str]) -> None:
    answer = _ask(messages=_user("Hello"), tools=[WEATHER, TIME], tool_choice=choice)
    assert [name for name, _ in _calls(answer)] == called


@pytest.mark.parametrize(("parallel", "count"), [(True, 2), (False, 1)])
def test_several_tools_are_called_at_once_unless_that_is_forbidden(parallel: bool, count: int) -> None:
    prompt = _user("Use get_weather and get_time.")
    assert len(_calls(_ask(messages=prompt, tools=[WEATHER, TIME], parallel_tool_calls=parallel))) == count


def test_the_result_of_a_tool_is_used_in_the_next_answer() -> None:
    messages = _user("Please call get_weather for Rome.")
    message = _ask(messages=messages, tools=[WEATHER])["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "Sunny, 31 degrees."}
    answer = _ask(messages=[*messages, message, result], tools=[WEATHER])
    assert answer["choices"][0]["message"]["content"] == "[simulated] The tool says: Sunny, 31 degrees."


def test_a_streamed_call_adds_up_to_the_whole_one() -> None:
    body = {"messages": _user("Please call get_weather."), "tools": [WEATHER]}
    deltas = [chunk["choices"][0]["delta"] for chunk in _ask(**body, stream=True)]
    parts = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    arguments = "".join(part["function"]["arguments"] for part in parts)
    assert [(parts[0]["function"]["name"], orjson.loads(arguments))] == _calls(_ask(**body))


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "web", "function": {}}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "x"}}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [WEATHER], "tool_choice": "always"}, "tool_choice"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "n"}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "n", "arguments": "{}"}}],
                    }
                ]
            },
            "messages[1].role",
        ),
    ],
)
def test_what_is_wrong_about_tools_is_refused_by_name(more: dict[str, Any], param: str) -> None:
    assert _ask(**{"messages": _user("Hi"), **more})["error"]["param"] == param


def test_a_tool_that_strict_mode_does_not_take_is_refused_as_a_function() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {**PARAMETERS, "required": []}, "strict": True}}
    error = _ask(messages=_user("Hi"), tools=[tool])["error"]
    assert error["code"] == "invalid_function_parameters" and "function 'f'" in error["message"]


@pytest.mark.parametrize(
    ("model", "effort", "tokens"),
    [("gpt-4o", None, 0), ("o1-mini", None, 128), ("gpt-4o-thinking", None, 128), ("gpt-4o", "low", 64)],
)
def test_models_that_reason_are_billed_for_their_thoughts(model: str, effort: str | None, tokens: int) -> None:
    more = {} if effort is None else {"reasoning_effort": effort}
    answer = _ask(model=model, messages=_user("Hi"), **more)
    usage, text = answer["usage"], answer["choices"][0]["message"]["content"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == tokens == reasoning_tokens(model, effort)
    assert usage["completion_tokens"] == tokens + text_tokens(text)


def test_thoughts_may_use_the_whole_answer_up() -> None:
    answer = _ask(model="o3", messages=_user("Hi"), max_completion_tokens=100)
    assert answer["choices"][0]["message"]["content"] == "" and answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 100


def test_the_beginning_of_a_long_prompt_is_cached_from_the_second_time_on() -> None:
    provider, system = Provider(Profile()), {"role": "system", "content": "x" * 5000}
    cached = [
        _ask(provider, messages=[system, *_user(text)])["usage"]["prompt_tokens_details"]["cached_tokens"]
        for text in ("a", "b", "c")
    ]
    assert cached == [0, 1152, 1152]


def test_a_short_prompt_is_never_cached() -> None:
    provider = Provider(Profile())
    usages = [_ask(provider, messages=_user("x" * 4095))["usage"] for _ in range(2)]
    assert [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages] == [0, 0]


@given(shared=st.integers(0, 3000), rest=st.integers(0, 3000))
@settings(max_examples=50, deadline=None)
def test_the_cache_holds_what_two_prompts_share_in_whole_steps(shared: int, rest: int) -> None:
    cache = PromptCache()
    cache.remember("k", "s" * (shared * 4) + "a" * 4 * rest)
    read, written = cache.look_up("k", "s" * (shared * 4) + "b" * 4 * rest)
    expected = 0 if shared < 1024 else shared // 128 * 128
    total = 0 if shared + rest < 1024 else (shared + rest) // 128 * 128
    assert (read, read + written) == ((expected, total) if rest else (total, total))
    assert cache.look_up("other", "s" * (shared * 4))[0] == 0


def test_the_bad_schema_fault_breaks_the_answer_and_is_billed() -> None:
    provider = Provider(Profile())
    response_format = {"type": "json_schema", "json_schema": {"name": "n", "schema": PARAMETERS, "strict": True}}
    body = {"model": "sim-bad-schema-once", "messages": _user("Hi"), "response_format": response_format}
    texts = [_ask(provider, **body)["choices"][0]["message"]["content"] for _ in range(2)]
    first, second = map(orjson.loads, texts)
    assert len(first) == 1 and second.keys() == {"city", "days"}
    assert provider.records.stats()["ok"] == 2


def test_the_bad_schema_fault_breaks_arguments_too() -> None:
    answer = _ask(model="sim-bad-schema", messages=_user("Call get_weather"), tools=[WEATHER])
    ((_, arguments),) = _calls(answer)
    assert len(arguments) == 1


def test_tools_cost_prompt_tokens() -> None:
    messages = _user("Hi")
    used = _ask(messages=messages, tools=[WEATHER])["usage"]["prompt_tokens"]
    schema_tokens = (len(orjson.dumps(PARAMETERS)) + 3) // 4
    assert used == chat_tokens(messages) + text_tokens("get_weather") + schema_tokens
