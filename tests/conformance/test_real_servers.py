"""What servers that people run do beside the documented: from SQL, over sockets, to the row and the number of calls."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiq
from aiq.errors import ProviderError
from aiq.ledger.tables import Tables
from tests.contract.providers import external
from tests.contract.raw_server import Raw, RawServer

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

Opened = Callable[..., aiq.Session]
EMBED = "llm/v1/embeddings"


def custom(url: str, name: str = "main", task: str = "llm/v1/chat", key: str = "sk-own-key") -> dict[str, Any]:
    section = {"custom_provider_url": f"{url}/v1", "bearer_token_auth": {"token_plaintext": key}}
    return {**external("custom", "m", section, task=task), "name": name}


def said(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"model": "m", "choices": [choice]}).encode()


@pytest.fixture
def opened(tmp_path: Path, home: Path, make_conf: Callable[[Path, str], ConfFolder]) -> Opened:
    """A session with one endpoint of these entities, and these settings."""

    def open_session(*entities: dict[str, Any], gateway: dict[str, Any] | None = None, **settings: Any) -> aiq.Session:
        conf = make_conf(tmp_path / "conf", "")
        conf.settings(**settings)
        task = entities[0]["external_model"]["task"]
        traffic = {"main": 100} if len(entities) > 1 else None
        table = {"enabled": True, "catalog_name": "main", "schema_name": "ai", "table_name_prefix": "e"}
        policy = {"inference_table_config": table, **(gateway or {})}
        conf.endpoint("e", *entities, task=task, gateway=policy, traffic=traffic)
        return aiq.connect(conf=conf.path, home=home)

    return open_session


def vectors(mark: str, body: bytes, path: str) -> Raw:
    """As llama.cpp does: a text it cannot take fails the whole request with 500; one gives a NaN."""
    texts = json.loads(body)["input"]
    if any("bad" in text for text in texts):
        return Raw(b'{"error": {"code": 500, "message": "input is not right"}}', 500)
    items = [
        {"index": index, "embedding": [math.nan if "nan" in text else 0.5, float(len(text))]}
        for index, text in enumerate(texts)
    ]
    return Raw(json.dumps({"data": items, "usage": {"prompt_tokens": 9, "total_tokens": 9}}).encode())


def test_one_text_that_a_server_fails_at_fails_alone(opened: Opened) -> None:
    with RawServer(vectors) as server, opened(custom(server.url, task=EMBED)) as session:
        rows = session.sql(
            "SELECT i, ai_query('e', CASE i WHEN 20 THEN 'bad' WHEN 30 THEN 'nan' ELSE 'text ' || i END, "
            "failOnError => false) AS r FROM range(40) t(i) ORDER BY i"
        ).fetchall()
        calls = len(server.asked)
    failed = [i for i, r in rows if r["errorMessage"] is not None]
    assert failed == [20, 30]
    assert rows[5][1]["result"] == [0.5, 6.0]
    assert calls < 45


def test_a_stand_in_for_a_key_spoils_no_answer(opened: Opened, home: Path) -> None:
    text = '```json\n{"n": 1}\n```'
    schema = '{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}'
    with RawServer(lambda *_: Raw(said(text))) as server, opened(custom(server.url, key="1")) as session:
        sql = "SELECT ai_query('e', 'Which n?', responseFormat => $f), ai_query('e', 'And 1?')"
        assert session.sql(sql, {"f": schema}).fetchall() == [('{"n": 1}', text)]
    responses = Tables(home).to_arrow("main.ai.e_payload").column("response").to_pylist()
    assert all('"n' in response and "***" not in response for response in responses)


@pytest.mark.parametrize("status", [202, 204, 307, 405, 499])
def test_a_status_that_is_no_answer_reaches_the_fallback(opened: Opened, status: int) -> None:
    headers = (("location", "http://127.0.0.1:1/"),) if status == 307 else ()
    with RawServer(lambda *_: Raw(b"", status, headers)) as odd, RawServer(lambda *_: Raw(said("Yes."))) as good:
        entities = [custom(odd.url), custom(good.url, "b")]
        with opened(*entities, gateway={"fallback_config": {"enabled": True}}, retries_before_fallback=0) as session:
            assert session.sql("SELECT ai_query('e', 'Is 1 odd?')").fetchall() == [("Yes.",)]
        assert (len(odd.asked), len(good.asked)) == (1, 1)


def test_an_answer_with_many_headers_is_taken(opened: Opened) -> None:
    many = (("content-type", "application/json"), *((f"x-trace-{number}", "v") for number in range(150)))
    with RawServer(lambda *_: Raw(said("Yes."), 200, many)) as server, opened(custom(server.url)) as session:
        query = "SELECT ai_query('e', 'Is ' || i || ' odd?') FROM range(5) t(i)"
        assert session.sql(query).fetchall() == [("Yes.",)] * 5


def test_an_answer_that_ends_in_its_middle_is_not_an_unreachable_host(opened: Opened) -> None:
    with (
        RawServer(lambda *_: Raw(b'{"choices": [', length=500)) as server,
        opened(custom(server.url), retries=0) as session,
    ):
        ((answer,),) = session.sql("SELECT ai_query('e', 'Is 1 odd?', failOnError => false)").fetchall()
    assert "broke off" in answer["errorMessage"] and "cannot reach" not in answer["errorMessage"]


def test_a_dead_proxy_is_called_by_its_name(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(lambda *_: Raw(said("Yes."))) as server:
        with (
            opened(custom(server.url), retries=0, proxy="http://127.0.0.1:9") as session,
            pytest.raises(ProviderError, match=r"through the proxy 127\.0\.0\.1:9: .*proxy in conf/aiq.yml"),
        ):
            session.sql("SELECT ai_query('e', 'Is 1 odd?')").fetchall()
        assert server.asked == []


def test_a_server_is_told_not_to_stream(opened: Opened) -> None:
    with RawServer(lambda *_: Raw(said("Yes."))) as server, opened(custom(server.url)) as session:
        session.sql("SELECT ai_query('e', 'Is 1 odd?')").fetchall()
        assert json.loads(server.bodies[0])["stream"] is False


def test_a_model_that_says_only_in_words_which_limit_it_takes_is_understood(opened: Opened) -> None:
    def answer(mark: str, body: bytes, path: str) -> Raw:
        if b'"max_tokens"' in body:
            words = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            return Raw(json.dumps({"error": {"message": words}}).encode(), 400)
        return Raw(said("Yes."))

    with RawServer(answer) as server, opened(custom(server.url)) as session:
        query = "SELECT ai_query('e', 'Is 1 odd?', modelParameters => {'max_tokens': 9})"
        assert session.sql(query).fetchall() == [("Yes.",)]
        assert len(server.asked) == 2
