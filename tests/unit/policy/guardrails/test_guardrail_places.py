"""Guards read whatever a model reads: each line hides personal data or a word in another place."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import orjson
import pytest

from aiq.config.endpoint import SideGuardrails
from aiq.errors import GuardrailBlocked
from aiq.request import Answer, Caller, Request, Usage

MASK, WORDS = SideGuardrails(pii="MASK"), SideGuardrails(invalid_keywords=("project falcon",))
MAIL, CARD, LABEL = "jane.doe@corp.com", 4111111111111111, "<EMAIL_ADDRESS>"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256))).decode()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def message(**members: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hello", **members}]}


def part(**members: Any) -> dict[str, Any]:
    return message(content=[members])


def tool(**members: Any) -> dict[str, Any]:
    return {**message(), "tools": [{"type": "function", "function": {"name": "f", **members}}]}


def call(arguments: Any, **members: Any) -> dict[str, Any]:
    return message(
        role="assistant", tool_calls=[{"id": "c1", "function": {"name": "f", "arguments": arguments}, **members}]
    )


def schema(**property: Any) -> dict[str, Any]:
    form = {"name": "s", "schema": {"type": "object", "properties": {"a": {"type": "string", **property}}}}
    return {**message(), "response_format": {"type": "json_schema", "json_schema": form}}


MASKED: dict[str, dict[str, Any]] = {
    "a provider's documents": {**message(), "documents": [{"title": "t", "text": MAIL}]},
    "documents as text": {**message(), "documents": [MAIL]},
    "data of a document": {**message(), "documents": [{"data": {"snippet": MAIL}}]},
    "system beside the messages": {**message(), "system": MAIL},
    "parts of system": {**message(), "system": [{"type": "text", "text": MAIL}]},
    "a chat template": {**message(), "chat_template": f"{{% set who = '{MAIL}' %}}"},
    "arguments of a template": {**message(), "chat_template_kwargs": {"who": MAIL}},
    "user": {**message(), "user": MAIL},
    "metadata": {**message(), "metadata": {"who": MAIL}},
    "a parameter of tomorrow": {**message(), "tomorrow": {"deep": [{"er": MAIL}]}},
    "a prediction": {**message(), "prediction": {"type": "content", "content": MAIL}},
    "a schema's description": schema(description=f"like {MAIL}"),
    "a tool's description": tool(description=f"mails {MAIL}"),
    "a tool's parameter": tool(parameters={"properties": {"a": {"description": MAIL}}}),
    "reasoning of a turn": message(role="assistant", reasoning_content=MAIL),
    "a refusal": message(role="assistant", refusal=MAIL),
    "data that is text": part(type="document", source={"type": "text", "media_type": "text/plain", "data": MAIL}),
    "data that looks like base64": part(type="input_audio", input_audio={"data": MAIL, "format": "wav"}),
    "arguments as a STRUCT": call({"to": MAIL, "id": "x", "data": [1]}),
    "an id among arguments": call({"id": MAIL, "format": MAIL}),
    "a name among arguments": call({MAIL: 1}),
    "a tool's result": message(role="tool", tool_call_id="c1", content=MAIL),
    "web search": {**message(), "web_search_options": {"user_location": {"city": MAIL}}},
}  # fmt: skip
REFUSED: dict[str, dict[str, Any]] = {
    "stop": {**message(), "stop": [f"{MAIL}"]},
    "one stop": {**message(), "stop": MAIL},
    "a message's name": message(name=MAIL),
    "a message's id": message(id=MAIL),
    "a tool call's id": message(role="tool", tool_call_id=MAIL),
    "an id that is a card": message(id="4111 1111 1111 1111"),
    "an id that is a phone number": message(id="+1 415 555 2671"),
    "a role": message(role=MAIL),
    "a type": part(type=MAIL, text="x"),
    "a format": part(type="input_audio", input_audio={"data": PNG, "format": MAIL}),
    "detail": part(type="image_url", image_url={"url": "https://a.test/b.png", "detail": MAIL}),
    "a file's name": part(type="file", file={"filename": MAIL, "file_data": PNG}),
    "a link": part(type="image_url", image_url={"url": "https://a.test/?who=jane.doe%40corp.com"}),
    "a link as text": part(type="image_url", image_url=MAIL),
    "a schema's values": schema(enum=[MAIL]),
    "a schema's constant": schema(const=MAIL),
    "a schema's name": {**message(), "response_format": {"type": "json_schema", "json_schema": {"name": MAIL}}},
    "a schema's member": {**message(), "response_format": {"schema": {"properties": {MAIL: {"type": "string"}}}}},
    "a tool's name": {**message(), "tools": [{"function": {"name": MAIL}}]},
    "the tool to choose": {**message(), "tool_choice": {"function": {"name": MAIL}}},
    "a tool choice": {**message(), "tool_choice": MAIL},
    "metadata's name": {**message(), "metadata": {MAIL: "x"}},
    "a number": {**message(), "tomorrow": CARD},
    "a response format": {**message(), "response_format": {"type": MAIL}},
    "reasoning effort": {**message(), "reasoning_effort": MAIL},
    "cache control": message(cache_control={"type": MAIL}),
}  # fmt: skip
FILES: dict[str, tuple[dict[str, Any], str]] = {
    "a text as a data URL": (
        part(type="file", file={"file_data": f"data:text/plain;base64,{encoded(MAIL)}"}),
        f"data:text/plain;base64,{encoded(LABEL)}",
    ),
    "a text as base64": (part(type="document", source={"type": "base64", "data": encoded(MAIL)}), encoded(LABEL)),
    "a text said to be an image": (
        part(type="image_url", image_url={"url": f"data:image/png;base64,{encoded(MAIL)}"}),
        f"data:image/png;base64,{encoded(LABEL)}",
    ),
    "a data URL in plain letters": (
        part(type="file", file={"file_data": f"data:text/plain,{MAIL}"}),
        "data:text/plain,%3CEMAIL_ADDRESS%3E",
    ),
    "a text that begins like an image": (
        part(type="document", source={"type": "base64", "data": encoded(f"BMW of {MAIL}")}),
        encoded(f"BMW of {LABEL}"),
    ),
}


def check(world: Any, body: dict[str, Any], side: SideGuardrails, task: Any = "llm/v1/chat") -> dict[str, Any]:
    request = Request("chat", task, body, Caller("ann"), "s1")
    checked: dict[str, Any] = asyncio.run(world.guards(side).check_input(request)).request.body
    return checked


@pytest.mark.parametrize("place", MASKED)
def test_text_is_masked_wherever_it_stands(world: Any, place: str) -> None:
    before = orjson.dumps(MASKED[place])
    sent = json.dumps(check(world, MASKED[place], MASK))
    assert MAIL not in sent and LABEL in sent
    assert orjson.dumps(MASKED[place]) == before


@pytest.mark.parametrize("place", REFUSED)
def test_what_a_label_would_change_is_refused(world: Any, place: str) -> None:
    with pytest.raises(GuardrailBlocked, match="no label can stand") as caught:
        check(world, REFUSED[place], MASK)
    told = f"{caught.value} {caught.value.reason} {caught.value.report} {caught.value.blocked}"
    assert MAIL not in told and str(CARD) not in told and "%40corp" not in told
    assert "4111" not in told and "2671" not in told


@pytest.mark.parametrize("place", [*MASKED, *REFUSED])
def test_a_keyword_is_found_wherever_it_stands(world: Any, place: str) -> None:
    body = {**MASKED, **REFUSED}[place]
    text = json.dumps(body).replace(MAIL, "Project Falcon").replace("jane.doe%40corp.com", "Project%20Falcon")
    for number in (str(CARD), "4111 1111 1111 1111", "+1 415 555 2671"):
        text = text.replace(number, '"Project Falcon"' if number == str(CARD) else "Project Falcon")
    with pytest.raises(GuardrailBlocked):
        check(world, json.loads(text), WORDS)


@pytest.mark.parametrize("place", FILES)
def test_text_in_a_file_is_masked(world: Any, place: str) -> None:
    body, expected = FILES[place]
    sent = json.dumps(check(world, body, MASK))
    assert expected in sent and encoded(MAIL) not in sent


INNOCENT: dict[str, dict[str, Any]] = {
    "an image": part(type="image_url", image_url={"url": f"data:image/png;base64,{PNG}"}),
    "an image's link": part(type="image_url", image_url={"url": "https://a.test/2024/12345678/415-555-2671.png"}),
    "an image of unknown form": part(type="image_url", image_url={"url": "data:image/x;base64,////4111111111111111"}),
    "ids": message(role="tool", tool_call_id="call-12345678-415-555-2671", content="x"),
    "a seed": {**message(), "seed": CARD, "max_tokens": 100_000_000},
    "the protocol": {**schema(), **tool(), "tool_choice": "auto", "service_tier": "auto", "user": "u-12345678"},
    "a number in a schema": schema(maximum=4155552671),
}


@pytest.mark.parametrize("place", INNOCENT)
def test_what_carries_no_text_passes_as_it_is(world: Any, place: str) -> None:
    assert check(world, INNOCENT[place], MASK) is INNOCENT[place]


def test_the_words_of_the_protocol_are_no_keywords(world: Any) -> None:
    words = SideGuardrails(invalid_keywords=("user", "text", "auto", "function", "role", "content", "type", "wav"))
    body = {**part(type="text", text="hello"), **tool(), "tool_choice": "auto"}
    body = {**body, "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}
    assert check(world, body, words) is body


@pytest.mark.parametrize("body", [{"dataframe_records": [{MAIL: 1}]}, {"inputs": [{"card": CARD}]}, {"inputs": CARD}])
def test_a_custom_models_names_and_numbers_are_refused(world: Any, body: dict[str, Any]) -> None:
    with pytest.raises(GuardrailBlocked, match="no label can stand"):
        check(world, body, MASK, "custom")


@pytest.mark.parametrize("name", ["id", "data", "format", "type", "name", "url", "stop", "role"])
def test_a_custom_models_columns_are_text_whatever_they_are_called(world: Any, name: str) -> None:
    assert check(world, {"inputs": [{name: MAIL}]}, MASK, "custom") == {"inputs": [{name: LABEL}]}


def test_features_of_a_custom_model_are_numbers(world: Any) -> None:
    body = {"dataframe_split": {"columns": ["at", "x"], "data": [[1700000000, 0.123456789], [1700000000000, -1e300]]}}
    assert check(world, body, MASK, "custom") is body


def test_two_names_with_one_label_stay_two_arguments(world: Any) -> None:
    sent = check(world, call({"a@b.com": 1, "c@d.com": 2}), MASK)["messages"][0]["tool_calls"][0]
    assert sorted(sent["function"]["arguments"].values()) == [1, 2]


ANSWERS: dict[str, dict[str, Any]] = {
    "citations": {"citations": [f"https://a.test/{MAIL}", MAIL]},
    "search results": {"search_results": [{"title": f"about {MAIL}", "url": f"https://a.test/?q={MAIL}"}]},
    "an id": {"id": MAIL},
    "a member of tomorrow": {"tomorrow": {MAIL: [{"data": MAIL}]}},
    "images": {"images": [{"data": encoded(MAIL)}]},
}  # fmt: skip
CHOICES: dict[str, dict[str, Any]] = {
    "reasoning": {"message": {"content": "fine", "reasoning_content": MAIL}},
    "annotations": {"message": {"content": "fine", "annotations": [{"url_citation": {"title": MAIL}}]}},
    "a name": {"message": {"content": "fine", "name": MAIL}},
    "a tool call's id": {"message": {"content": "fine", "tool_calls": [{"id": MAIL, "function": {"name": MAIL}}]}},
    "a reason": {"message": {"content": "fine"}, "finish_reason": MAIL},
    "an error": {"message": {"content": "fine"}, "error": {"message": MAIL}},
    "a log probability": {"message": {"content": MAIL}, "logprobs": {"content": [{"token": MAIL}]}},
}  # fmt: skip


@pytest.mark.parametrize("place", [*ANSWERS, *CHOICES])
def test_the_whole_answer_is_masked_in_what_is_logged(world: Any, make_chat: Any, place: str) -> None:
    choices = [CHOICES.get(place, {"message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"})]
    usage = {"prompt_tokens": 12345678, "completion_tokens": 1}
    raw = json.dumps(
        {"id": "chatcmpl-12345678", "created": 1700000000, **ANSWERS.get(place, {}), "choices": choices, "usage": usage}
    )
    answer = Answer(choices[0]["message"]["content"], Usage(1, 1), "m", "stop", raw)
    checked = asyncio.run(world.guards(None, MASK).check_output(make_chat("x"), answer)).answer
    logged = json.loads(checked.raw)
    assert MAIL not in checked.raw and encoded(MAIL) not in checked.raw and checked.value in ("fine", LABEL)
    assert (logged["created"], logged["usage"]) == (1700000000, usage)
    with pytest.raises(GuardrailBlocked):
        asyncio.run(world.guards(None, SideGuardrails(pii="BLOCK")).check_output(make_chat("x"), answer))


def test_an_answers_ids_and_links_are_no_phone_numbers(world: Any, make_chat: Any) -> None:
    body = {"id": "chatcmpl-415-555-2671", "created": 1700000000, "citations": ["https://a.test/12345678/4155552671"]}
    raw = json.dumps({**body, "choices": [{"message": {"content": "fine"}}]})
    answer = Answer("fine", Usage(1, 1), "m", "stop", raw)
    assert asyncio.run(world.guards(None, MASK).check_output(make_chat("x"), answer)).answer is answer


def test_what_a_failed_guard_says_does_not_tell_to_let_everything_pass(world: Any) -> None:
    with pytest.raises(GuardrailBlocked) as caught:
        check(world, {"input": [1, 2]}, MASK, "llm/v1/embeddings")
    assert "allow" not in str(caught.value)
