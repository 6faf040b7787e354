"""What `ai_query` sends for each task: messages, completions, embeddings, custom models and images."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from aiq.errors import FunctionError, ProviderError
from aiq.simulator.vectors import embed

if TYPE_CHECKING:
    from tests.conformance.conftest import Engine

ENGINES = ("duckdb", "registered", "spark")

Ledger = Callable[..., list[dict[str, Any]]]


def png(colour: int) -> bytes:
    """A grey image of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes([0, colour]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def messages(ledger_rows: Ledger) -> list[Any]:
    return [json.loads(row["request"])["messages"] for row in ledger_rows("main.ai.chat_payload")]


# chat


OF_DUCKDB = [
    "'calm'::ENUM('calm', 'angry')",
    "TIME '23:59:59.5'",
    "TIMESTAMP '2024-02-29 12:00:00.25'",
    "TIMESTAMP 'infinity'",
    "'2024-02-29 12:00:00'::TIMESTAMP_S",
    "'2024-02-29 12:00:00.123456789'::TIMESTAMP_NS",
    "TIMESTAMPTZ '2024-02-29 12:00:00+00'",
    "DATE '0044-03-15 (BC)'",
    "INTERVAL '-1 year 3 days 00:00:01.5'",
    "'ffffffff-ffff-ffff-ffff-ffffffffffff'::UUID",
    "true",
    "42",
    "'-170141183460469231731687303715884105728'::HUGEINT",
    "'-1.10'::DECIMAL(8, 2)",
    "1e300",
    "'-inf'::DOUBLE",
    "NULL",
]


@pytest.mark.engines("duckdb", "registered")
def test_a_value_of_any_scalar_type_is_sent_as_the_text_it_is_cast_to(engine: Engine, ledger_rows: Ledger) -> None:
    engine.session.con.execute("SET TimeZone = 'America/New_York'")
    for number, value in enumerate(OF_DUCKDB):
        engine.session.con.execute(f"CREATE TABLE t{number} AS SELECT unnest([NULL, {value}]) AS x")
    tables = range(len(OF_DUCKDB))
    cast = " UNION ALL ".join(f"SELECT CAST(x AS VARCHAR) FROM t{number}" for number in tables)
    expected = {text for (text,) in engine.session.con.execute(cast).fetchall() if text is not None}
    assert "2024-02-29 07:00:00-05" in expected and len(expected) == len(OF_DUCKDB) - 1
    for number in tables:
        engine.sql(f"SELECT ai_query('chat', x) AS r FROM t{number}")
    assert {message["content"] for (message,) in messages(ledger_rows)} == expected


@pytest.mark.engines("duckdb", "registered")
def test_a_completions_prompt_may_be_a_number(engine: Engine) -> None:
    assert engine.sql("SELECT ai_query('complete', 42) AS r") == engine.sql("SELECT ai_query('complete', '42') AS r")


@pytest.mark.engines("duckdb")
def test_what_is_embedded_may_be_a_number(engine: Engine) -> None:
    ((number, text),) = engine.sql("SELECT ai_query('emb', 1.50) AS a, ai_query('emb', '1.50') AS b")
    assert number == text and engine.requests() == 1


@pytest.mark.engines("duckdb")
def test_a_custom_model_gets_a_number_as_a_number(engine: Engine) -> None:
    assert engine.sql("SELECT ai_query('model', named_struct('__return', 7), 'INT') AS r") == [(7,)]


@pytest.mark.engines("registered")
def test_a_bit_string_is_its_digits(engine: Engine, ledger_rows: Ledger) -> None:
    engine.sql("SELECT ai_query('chat', '0101'::BIT) AS r")
    assert messages(ledger_rows) == [[{"role": "user", "content": "0101"}]]


@pytest.mark.engines("registered")
def test_a_time_of_day_with_a_zone_is_refused_not_sent_without_it(engine: Engine) -> None:
    with pytest.raises(FunctionError, match="without its zone"):
        engine.sql("SELECT ai_query('chat', TIMETZ '00:00:00+05') AS r")
    assert engine.requests() == 0


@pytest.mark.engines("spark")
@pytest.mark.parametrize(("value", "kind"), [("42", "INT"), ("true", "BOOLEAN")])
def test_spark_sends_no_number_as_text(engine: Engine, value: str, kind: str) -> None:
    with pytest.raises(FunctionError, match=f"it is {kind}. Cast it to STRING"):
        engine.sql(f"SELECT ai_query('chat', {value}) AS r")
    assert engine.requests() == 0


def test_a_string_becomes_one_message_of_the_user(engine: Engine, ledger_rows: Ledger) -> None:
    engine.sql("SELECT ai_query('chat', 'Hi.') AS r")
    assert messages(ledger_rows) == [[{"role": "user", "content": "Hi."}]]


def test_a_struct_of_messages_goes_as_it_is(engine: Engine, ledger_rows: Ledger) -> None:
    engine.load("t", body=["Tell me."])
    engine.sql(
        "SELECT ai_query('chat', named_struct('messages', array("
        "named_struct('role', 'system', 'content', 'Be brief.'), "
        "named_struct('role', 'user', 'content', body)))) AS r FROM t"
    )
    assert messages(ledger_rows) == [
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell me."}]
    ]


def test_a_struct_may_carry_parameters_and_model_parameters_win(engine: Engine, ledger_rows: Ledger) -> None:
    engine.sql(
        "SELECT ai_query('chat', named_struct('messages', array(named_struct('role', 'user', 'content', 'Hi.')), "
        "'max_tokens', 5, 'seed', 1, 'top_p', NULL), modelParameters => named_struct('seed', 2)) AS r"
    )
    (row,) = ledger_rows("main.ai.chat_payload")
    body = json.loads(row["request"])
    assert (body["max_tokens"], body["seed"], "top_p" in body) == (5, 2, False)


def test_a_text_and_a_struct_may_be_asked_in_one_statement(engine: Engine) -> None:
    engine.load("t", body=["One.", "Two."])
    rows = engine.sql(
        "SELECT ai_query('chat', body) AS a, ai_query('chat', named_struct('messages', "
        "array(named_struct('role', 'user', 'content', body || '..')))) AS b FROM t"
    )
    assert sorted((a[-4:], b[-6:]) for a, b in rows) == [("One.", "One..."), ("Two.", "Two...")]
    assert engine.requests() == 4


@pytest.mark.engines("duckdb", "spark")
def test_inputs_of_two_types_are_two_inputs(engine: Engine) -> None:
    engine.load("t", body=["1"])
    (row,) = engine.sql(
        "SELECT ai_query('model', id + 1, returnType => 'STRING') AS a, "
        "ai_query('model', body, returnType => 'STRING') AS b FROM t"
    )
    assert row == ("1", "1") and engine.requests() == 2


def test_equal_structs_are_paid_once(engine: Engine) -> None:
    engine.load("t", body=["Same."] * 50)
    rows = engine.sql(
        "SELECT ai_query('chat', named_struct('messages', "
        "array(named_struct('role', 'user', 'content', body)))) AS r FROM t"
    )
    assert len(set(rows)) == 1 and engine.requests() == 1


def test_a_struct_whose_messages_are_null_gives_null(engine: Engine) -> None:
    engine.load("t", body=["One.", None])
    rows = dict(
        engine.sql(
            "SELECT id, ai_query('chat', CASE WHEN id = 0 THEN named_struct('messages', "
            "array(named_struct('role', 'user', 'content', body))) END) AS r FROM t"
        )
    )
    assert rows[1] is None and rows[0].endswith("One.")


@pytest.mark.parametrize(
    "request_struct",
    [
        "named_struct('text', 'x')",
        "array('x')",
        "named_struct('messages', array(named_struct('role', 'user', 'content', 'x')), 'model', 'gpt-4o')",
        "named_struct('messages', array(named_struct('role', 'user', 'content', 'x')), 'stream', true)",
    ],
)
def test_a_struct_that_is_no_chat_request_is_refused(engine: Engine, request_struct: str) -> None:
    with pytest.raises(FunctionError) as caught:
        engine.sql(f"SELECT ai_query('chat', {request_struct}) AS r")
    assert (caught.value.condition, caught.value.sqlstate) == ("AI_FUNCTION_UNSUPPORTED_REQUEST", "0A000")
    assert engine.requests() == 0


@pytest.mark.parametrize(
    "text",
    [
        "emoji 👩‍👩‍👧 🏳️‍🌈 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
        "right to left עברית العربية",
        "controls \x01\x7f\u0085\u2028\u2029\ufeff",
        'quotes " \' ` \\ \\n {"a": 1} $1 ? ; --',
        "combining é é ﬃ",
    ],
)
def test_odd_text_arrives_and_comes_back_whole(engine: Engine, ledger_rows: Ledger, text: str) -> None:
    engine.load("t", body=[text])
    ((answer,),) = engine.sql(
        "SELECT ai_query('chat', 'Answer with exactly one of: ' || 'same' || chr(10) || body) AS r FROM t"
    )
    assert answer == "same"
    assert messages(ledger_rows)[0][0]["content"].endswith(text)


# completions


def test_a_completions_endpoint_completes_a_prompt(engine: Engine, ledger_rows: Ledger) -> None:
    ((r,),) = engine.sql("SELECT ai_query('complete', 'Once upon a time.') AS r")
    assert r.startswith("[simulated]")
    assert [row["task"] for row in ledger_rows("system.aiq.calls")] == ["llm/v1/completions"]


# embeddings


def test_an_embedding_is_an_array_of_floats(engine: Engine) -> None:
    ((vector,),) = engine.sql("SELECT ai_query('emb', 'A text.') AS v")
    assert vector == pytest.approx(embed("A text.", 64, 0))


def test_several_rows_travel_in_one_embeddings_call(engine: Engine, ledger_rows: Ledger) -> None:
    texts = [f"Text {i}." for i in range(300)]
    engine.load("t", body=texts)
    rows = engine.sql("SELECT id, ai_query('emb', body) AS v FROM t")
    assert all(vector == pytest.approx(embed(texts[i], 64, 0)) for i, vector in rows)
    assert engine.requests() == 3
    assert sorted(row["rows"] for row in ledger_rows("system.aiq.calls")) == [44, 128, 128]


def test_one_text_the_provider_refuses_fails_alone(engine: Engine) -> None:
    engine.load("t", body=["Good one.", "", "Good two.", "Good three."])
    rows = dict(engine.sql("SELECT id, ai_query('emb', body, failOnError => false) AS v FROM t"))
    assert [rows[i]["errorMessage"] is None for i in range(4)] == [True, False, True, True]
    assert rows[3]["result"] == pytest.approx(embed("Good three.", 64, 0))
    assert "empty string" in rows[1]["errorMessage"]


def test_equal_texts_are_embedded_once(engine: Engine, ledger_rows: Ledger) -> None:
    engine.load("t", body=["Same."] * 10 + ["Other."])
    engine.sql("SELECT ai_query('emb', body) AS v FROM t")
    assert [row["rows"] for row in ledger_rows("system.aiq.calls")] == [2]


def test_dimensions_are_a_parameter_of_an_embedding(engine: Engine) -> None:
    ((vector,),) = engine.sql("SELECT ai_query('emb', 'x', modelParameters => named_struct('dimensions', 8)) AS v")
    assert len(vector) == 8


def test_an_embedding_may_be_an_array_of_doubles(engine: Engine) -> None:
    ((vector,),) = engine.sql("SELECT ai_query('emb', 'x', returnType => 'ARRAY<DOUBLE>') AS v")
    assert vector == embed("x", 64, 0)


def test_an_embedding_is_no_scalar(engine: Engine) -> None:
    with pytest.raises(FunctionError, match="ARRAY<FLOAT>"):
        engine.sql("SELECT ai_query('emb', 'x', returnType => 'STRING') AS v")


def test_a_failing_embeddings_call_ends_the_statement(engine: Engine) -> None:
    engine.load("t", body=["Good.", ""])
    with pytest.raises(ProviderError, match="empty string"):
        engine.sql("SELECT ai_query('emb', body) AS v FROM t")


# custom models


def test_a_struct_is_one_record_of_a_custom_model(engine: Engine) -> None:
    engine.load("mail", body=["Buy now", "Hello"], subject=["!!!", "Lunch"])
    rows = engine.sql(
        "SELECT id, ai_query('model', named_struct('text', body, 'subject', subject), "
        "returnType => 'STRUCT<text: STRING, subject: STRING>') AS r FROM mail"
    )
    assert dict(rows) == {0: {"text": "Buy now", "subject": "!!!"}, 1: {"text": "Hello", "subject": "Lunch"}}


def test_a_column_is_the_input_of_a_custom_model(engine: Engine) -> None:
    engine.load("t", n=[3, 4])
    assert dict(engine.sql("SELECT id, ai_query('model', n, returnType => 'BIGINT') AS r FROM t")) == {0: 3, 1: 4}
    assert engine.sql("SELECT ai_query('model', 'text', returnType => 'STRING') AS r") == [("text",)]


def test_dates_decimals_and_maps_reach_a_custom_model_as_json(engine: Engine) -> None:
    ((r,),) = engine.sql(
        "SELECT ai_query('model', named_struct('d', CAST('2024-02-29' AS DATE), 'n', CAST(1.5 AS DECIMAL(4,2)), "
        "'m', map('k', 1)), returnType => 'STRUCT<d: STRING, n: DOUBLE, m: STRING>') AS r"
    )
    assert {**r, "m": json.loads(r["m"])} == {"d": "2024-02-29", "n": 1.5, "m": {"k": 1}}


# images


def test_an_image_is_a_part_of_the_message(engine: Engine, ledger_rows: Ledger) -> None:
    engine.load("t", content=[png(1)])
    ((r,),) = engine.sql("SELECT ai_query('chat', 'Describe.', files => content) AS r FROM t")
    assert "Given 1 image(s) (image/png" in r
    ((message,),) = messages(ledger_rows)
    url = "data:image/png;base64," + base64.b64encode(png(1)).decode()
    assert message["content"] == [
        {"type": "text", "text": "Describe."},
        {"type": "image_url", "image_url": {"url": url}},
    ]


def test_the_same_prompt_with_another_image_is_another_request(engine: Engine) -> None:
    engine.load("t", content=[png(1), png(2), png(1)])
    engine.sql("SELECT ai_query('chat', 'Describe.', files => content) AS r FROM t")
    assert engine.requests() == 2


def test_several_images_of_a_row_go_together(engine: Engine) -> None:
    engine.load("t", content=[png(1)], other=[png(2)])
    ((r,),) = engine.sql("SELECT ai_query('chat', 'Compare.', files => array(content, other)) AS r FROM t")
    assert "Given 2 image(s)" in r


def test_a_row_without_an_image_asks_with_its_text_alone(engine: Engine) -> None:
    engine.load("t", content=[png(1), None])
    rows = dict(engine.sql("SELECT id, ai_query('chat', 'Describe.', files => content) AS r FROM t"))
    assert "Given 1 image" in rows[0] and "Given" not in rows[1]


@pytest.mark.parametrize(
    ("endpoint", "files"), [("chat", "'a.png'"), ("chat", "CAST('text' AS BINARY)"), ("emb", "content")]
)
def test_what_is_no_image_is_refused(engine: Engine, endpoint: str, files: str) -> None:
    engine.load("t", content=[png(1)])
    with pytest.raises(FunctionError) as caught:
        engine.sql(f"SELECT ai_query('{endpoint}', 'Describe.', files => {files}) AS r FROM t")
    assert caught.value.condition == "AI_FUNCTION_UNSUPPORTED_REQUEST"
    assert engine.requests() == 0
