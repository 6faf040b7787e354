"""Whether an answer is the JSON that was asked for: what passes, what is told, and what asking again looks like."""

from __future__ import annotations

import socket
import threading
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiq.policy.structured_output import MAX_FORMATS, MAX_VIOLATIONS, Mismatch, StructuredOutput
from aiq.request import Answer, Usage
from tests.processes import PATIENCE_S

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number"}}}},
    },
    "required": ["name"],
    "additionalProperties": False,
}
OBJECT = {"type": "json_object"}


def wanted(schema: Any = SCHEMA, **envelope: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema, **envelope}}


def answer(text: str | None, finish_reason: str | None = "stop", **message: Any) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
    raw = orjson.dumps({"model": "m", "choices": [choice]}).decode()
    return Answer(text, Usage(10, 5), "m", finish_reason, raw)


def asked(make: Any, response_format: Any, **body: Any) -> Any:
    messages = [{"role": "user", "content": "Hi"}]
    return make.request(body={"messages": messages, "response_format": response_format, **body})


def check(make: Any, text: str | None, response_format: Any = None, end: str | None = "stop", **body: Any) -> Any:
    request = asked(make, response_format or wanted(), **body)
    return StructuredOutput().check(request, answer(text, end))


@pytest.mark.parametrize(
    ("text", "response_format"),
    [
        ('{"name": "a"}', wanted()),
        (' {"name": "a", "items": [{"price": 2}]}\n', wanted()),
        ('{"name": "a"}', wanted(strict=False)),
        ('{"anything": [1]}', OBJECT),
        ("[1, 2]", wanted({"type": "array"})),
        ("null", wanted({"anyOf": [{"type": "string"}, {"type": "null"}]})),
        ("not JSON", {"type": "text"}),
        ("not JSON", {"type": "grammar"}),
        ("not JSON", "odd"),
    ],
)
def test_what_fits_passes_as_it_is(make: Any, text: str, response_format: Any) -> None:
    given_answer = answer(text)
    assert StructuredOutput().check(asked(make, response_format), given_answer) is given_answer


@pytest.mark.parametrize("reason", ["tool_calls", "function_call"])
def test_a_call_of_a_tool_is_no_answer_yet(make: Any, reason: str) -> None:
    assert isinstance(check(make, None, end=reason), Answer)


def test_several_choices_are_not_checked(make: Any) -> None:
    assert isinstance(check(make, "no", n=2), Answer)
    assert isinstance(check(make, "no", n=1), Mismatch)


@pytest.mark.parametrize(
    ("text", "response_format", "words"),
    [
        ("Sure! {}", OBJECT, "$: the answer is not JSON"),
        ("[1]", OBJECT, '$: [1] is not of type "object"'),
        ("", OBJECT, "$: the answer is empty"),
        (None, wanted(), "$: the answer is empty"),
        ('{"name": NaN}', wanted(), "$: the answer is not JSON"),
        ("{}", wanted(), '$: "name" is a required property'),
        ('{"name": 1}', wanted(), '$.name: 1 is not of type "string"'),
        ('{"name": "a", "items": [{}, {"price": "2"}]}', wanted(), '$.items[1].price: "2" is not of type "number"'),
        ('{"name": "a", "more": 1}', wanted(), "$: Additional properties are not allowed ('more' was unexpected)"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(
    make: Any, text: str | None, response_format: Any, words: str
) -> None:
    found = check(make, text, response_format)
    assert isinstance(found, Mismatch)
    error = found.error
    assert (error.kind, error.status, error.usage) == ("bad_schema", 200, Usage(10, 5))
    assert words in error.reason and "prompt" in error.reason
    assert error.body == answer(text).raw


@pytest.mark.parametrize(
    "text",
    [
        '```{"name": "a"}```',
        '```json\n{"name": "a"}\n```',
        '\n```\n{"name": "a"}```  ',
        '```JSON\r\n{"name": "a"}\r\n```',
    ],
)
def test_a_fence_around_the_json_is_taken_off(make: Any, text: str) -> None:
    found = check(make, text)
    assert orjson.loads(found.value) == {"name": "a"}
    assert orjson.loads(found.raw)["choices"][0]["message"]["content"] == found.value


@pytest.mark.parametrize("text", ["```json\n" + "\n" * 2_000_000, "\n" * 2_000_000 + "```", "```" * 700_000])
def test_a_model_that_runs_off_into_whitespace_holds_nobody_up(make: Any, text: str) -> None:
    done = threading.Event()

    def work() -> None:
        assert isinstance(check(make, text), Mismatch)
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(PATIENCE_S)


@pytest.mark.parametrize(
    "text", ['```json\n{"name": "a"}', '{"name": "a"}\n```', "``````", "```", "```\n{}\n```\n{}\n```"]
)
def test_half_a_fence_or_several_are_none(make: Any, text: str) -> None:
    assert isinstance(check(make, text), Mismatch)


def test_a_repair_shows_the_answer_and_what_is_wrong(make: Any) -> None:
    found = check(make, '{"name": 1, "more": 2}')
    first, said, told = found.repair.body["messages"]
    assert first == {"role": "user", "content": "Hi"}
    assert said == {"role": "assistant", "content": '{"name": 1, "more": 2}'}
    assert told["role"] == "user" and "only" in told["content"]
    assert '- $.name: 1 is not of type "string"' in told["content"] and "'more' was unexpected" in told["content"]
    assert found.repair.body["response_format"] == wanted()


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_an_empty_answer_is_asked_for_again_as_it_was(make: Any, text: str | None) -> None:
    assert check(make, text).repair.body == asked(make, wanted()).body


def test_an_answer_that_was_cut_says_to_raise_max_tokens(make: Any) -> None:
    found = check(make, '{"name": "a', end="length")
    assert found.repair is None
    assert (found.error.kind, found.error.usage) == ("bad_schema", Usage(10, 5))
    assert "max_tokens" in found.error.reason


def test_an_answer_whose_json_is_whole_at_its_last_token_fits(make: Any) -> None:
    assert isinstance(check(make, '{"name": "a"}', end="length"), Answer)


def test_an_answer_that_a_filter_cut_is_a_block(make: Any) -> None:
    found = check(make, '{"name": "a', end="content_filter")
    assert (found.error.kind, found.repair) == ("content_filter", None)


@pytest.mark.parametrize(
    "schema",
    [{"type": "nonsense"}, {"$schema": "http://nobody.test/x", "type": "object"}, {"pattern": "("}, {"$ref": "#/no"}],
)
def test_where_a_schema_is_none_only_json_is_asked_for(make: Any, schema: Any) -> None:
    assert isinstance(check(make, "[1]", wanted(schema)), Answer)
    assert isinstance(check(make, "no", wanted(schema)), Mismatch)


def test_an_address_that_a_schema_names_is_never_asked(make: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        for schema in ({"$ref": url}, {"$schema": url}, {"properties": {"a": {"$dynamicRef": url}}}):
            assert isinstance(check(make, "[1]", wanted(schema)), Answer)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_pattern_that_backtracks_for_ever_ends(make: Any) -> None:
    text = orjson.dumps("a" * 5000 + "!").decode()
    done = threading.Event()

    def work() -> None:
        check(make, text, wanted({"type": "string", "pattern": "^(a|aa)+(?=b)$"}))
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(PATIENCE_S)


def test_a_model_is_told_of_a_few_violations_and_a_person_of_one(make: Any) -> None:
    text = orjson.dumps({"name": "a", "items": [{"price": "x" * 1000}] * 50}).decode()
    found = check(make, text)
    told = found.repair.body["messages"][-1]["content"]
    assert told.count("\n- ") == MAX_VIOLATIONS and len(told) < 2000
    assert found.error.reason.count("$") == 1 and len(found.error.reason) < 500


def test_formats_are_compiled_once_and_forgotten_in_turn(make: Any) -> None:
    structured = StructuredOutput()
    for number in range(MAX_FORMATS + 10):
        schema = {"type": "object", "required": [str(number)]}
        structured.check(asked(make, wanted(schema)), answer("{}"))
    assert len(structured._formats) == MAX_FORMATS
    before = dict(structured._formats)
    structured.check(asked(make, wanted({"type": "object", "required": ["20"]})), answer("{}"))
    assert structured._formats == before


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
keywords = st.sampled_from(
    ["type", "properties", "items", "required", "enum", "pattern", "$ref", "anyOf", "$defs", "minimum", "format", "not"]
)
schemas = st.dictionaries(keywords, json_values | st.dictionaries(keywords, json_values, max_size=3), max_size=4)


@given(schemas, st.none() | st.text() | json_values)
def test_no_schema_and_no_answer_raises(make: Any, schema: Any, value: Any) -> None:
    try:
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        response_format = orjson.loads(orjson.dumps(wanted(schema)))
    except TypeError:  # what JSON has no words for
        return
    found = check(make, text, response_format)
    assert isinstance(found, Answer | Mismatch)
