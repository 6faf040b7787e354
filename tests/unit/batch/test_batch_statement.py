"""Many threads, one statement: each distinct request once, packs of embeddings, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiq.batch import packs
from aiq.batch import statement as statement_module
from aiq.batch.answers import Answers
from aiq.batch.slots import UNKNOWN, Ask, Pass
from aiq.batch.statement import Statement
from aiq.config.endpoint import Config, Settings
from aiq.errors import LedgerError, ProviderError, StatementCancelled
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger
from aiq.providers.abilities import Abilities
from aiq.providers.openai.adapter import OpenAIAdapter
from aiq.request import Caller
from tests.processes import PATIENCE_S

Open = Callable[..., Statement]
EMBEDDINGS: Any = "llm/v1/embeddings"
CHAT: Any = "llm/v1/chat"


@pytest.fixture
def open_statement(make: Any, tmp_path: Path) -> Iterator[Open]:
    """`open_statement(reply, ...)`: a statement before the endpoints `chat` and `emb`; `most` answers in memory."""
    ledger = Ledger.open(tmp_path / "home")

    def build(*replies: Any, most: int | None = None, **settings: Any) -> Statement:
        emb = make.endpoint(make.entity("emb", task=EMBEDDINGS), name="emb")
        config = Config("conf", Settings(retries=0, **settings), {"chat": make.endpoint(), "emb": emb})
        gateway = Gateway(config, ledger, transport=make.transport(*replies))
        for name in config.endpoints:
            gateway.open_endpoint(name)
        return Statement(gateway, Caller("ann"), answers=Answers(tmp_path, most=most))

    yield build
    ledger.close()


def sent(statement: Statement) -> list[Any]:
    return [orjson.loads(request.body) for request in statement.gateway.routes.transport.sent]  # type: ignore[union-attr]


def key(text: str | bytes) -> bytes:
    return blake2b(text if isinstance(text, bytes) else text.encode(), digest_size=16).digest()


def asks(*texts: str) -> list[Ask]:
    return [Ask(key(text), {"messages": [{"role": "user", "content": text}]}) for text in texts]


def texts(*texts: str, **parameters: Any) -> list[Ask]:
    return [Ask(key(orjson.dumps([text, parameters])), {"input": [text], **parameters}) for text in texts]


def embeddings(make: Any, bad: str = "none", code: str | None = None) -> Callable[[Any], Any]:
    """A provider whose vector of a text is its length; a call with the text `bad` fails."""

    def reply(request: Any) -> Any:
        inputs = orjson.loads(request.body)["input"]
        if any(bad in text for text in inputs):
            return make.failure(400, code)
        data = [{"index": i, "embedding": [float(len(text))]} for i, text in enumerate(inputs)]
        return make.response({"data": data, "usage": {"prompt_tokens": 1}})

    return reply


def test_answers_come_in_the_order_of_the_asks(make: Any, open_statement: Open) -> None:
    def echo(request: Any) -> Any:
        return make.chat_answer(orjson.loads(request.body)["messages"][0]["content"].upper())

    assert open_statement(echo).ask("chat", CHAT, asks("a", "b", "c", "a"), fail_fast=True) == ["A", "B", "C", "A"]


def test_the_same_request_from_many_threads_is_sent_once(make: Any, open_statement: Open) -> None:
    statement = open_statement(make.chat_answer("x"))
    together = threading.Barrier(8)

    def run(_: int) -> list[Any]:
        together.wait(PATIENCE_S)
        return statement.ask("chat", CHAT, asks("a", "b", "c"), fail_fast=True)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(run, range(8))) == [["x", "x", "x"]] * 8
    assert len(sent(statement)) == 3
    assert statement.asking == 0
    assert statement.progress.asked == statement.progress.answered == 3


def test_a_failure_is_a_value_unless_the_statement_is_to_fail(make: Any, open_statement: Open) -> None:
    statement = open_statement(make.failure(400))
    [value] = statement.ask("chat", CHAT, asks("a"), fail_fast=False)
    assert isinstance(value, ProviderError)
    assert not statement.stopped


def test_the_first_failure_stops_a_statement_that_is_to_fail(make: Any, open_statement: Open) -> None:
    statement = open_statement(make.failure(400), concurrency=1)
    with pytest.raises(ProviderError):
        statement.ask("chat", CHAT, asks(*map(str, range(50))), fail_fast=True)
    assert len(sent(statement)) == 1
    with pytest.raises(ProviderError):
        statement.ask("chat", CHAT, asks("later"), fail_fast=True)


def test_a_tolerant_call_is_not_ended_by_a_strict_one_on_the_same_endpoint(make: Any, open_statement: Open) -> None:
    started, strict_asked = threading.Event(), asyncio.Event()

    async def reply(request: Any) -> Any:
        if b"strict" in request.body:
            started.set()
            await strict_asked.wait()
            return make.chat_answer("fine")
        return make.failure(400)

    statement = open_statement(reply, concurrency=1)
    with ThreadPoolExecutor(2) as threads:
        strict = threads.submit(statement.ask, "chat", CHAT, asks("strict"), fail_fast=True)
        assert started.wait(PATIENCE_S)
        tolerant = threads.submit(statement.ask, "chat", CHAT, asks("tolerant"), fail_fast=False)
        while statement.asking < 2:
            threading.Event().wait(0.001)
        statement_module.background_loop().call_soon_threadsafe(strict_asked.set)
        assert strict.result(PATIENCE_S) == ["fine"]
        assert isinstance(tolerant.result(PATIENCE_S)[0], ProviderError)


def test_cancel_from_another_thread_ends_everybody_who_waits(make: Any, open_statement: Open) -> None:
    reached = threading.Semaphore(0)

    async def never(_: Any) -> Any:
        reached.release()
        await asyncio.Event().wait()

    statement = open_statement(never)
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(statement.ask, "chat", CHAT, asks(t, "shared"), fail_fast=True) for t in "abc"]
        for _ in range(4):
            assert reached.acquire(timeout=PATIENCE_S)
        statement.cancel()
        for future in waiting:
            assert isinstance(future.exception(PATIENCE_S), StatementCancelled)
    assert statement.asking == 0


def test_a_stopped_statement_takes_nothing_more(make: Any, open_statement: Open) -> None:
    statement = open_statement(make.chat_answer())
    statement.cancel()
    with pytest.raises(StatementCancelled):
        statement.ask("chat", CHAT, asks("a"), fail_fast=True)
    assert sent(statement) == []


def test_answers_from_before_the_cancel_are_not_asked_again(make: Any, open_statement: Open) -> None:
    statement = open_statement(make.chat_answer("x"))
    statement.ask("chat", CHAT, asks("a"), fail_fast=True)
    assert statement.ask("chat", CHAT, asks("a"), fail_fast=True) == ["x"]
    assert len(sent(statement)) == 1


def test_a_cancel_in_the_middle_of_asking_does_not_deadlock(make: Any, open_statement: Open) -> None:
    """As Ctrl-C does it: from a signal handler, on the thread that is in `ask` at this moment."""
    statement = open_statement(make.chat_answer())

    def interrupted() -> Iterator[Ask]:
        yield from asks("a")
        statement.cancel()
        yield from asks("b")

    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(statement.ask, "chat", CHAT, interrupted(), fail_fast=True)
        assert isinstance(asked.exception(PATIENCE_S), StatementCancelled)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("x"), MemoryError()])
def test_an_error_in_the_loop_reaches_every_thread(open_statement: Open, error: Exception) -> None:
    statement = open_statement(error)
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(statement.ask, "chat", CHAT, asks("same", t), fail_fast=False) for t in "abcd"]
        assert {type(future.exception(PATIENCE_S)) for future in waiting} == {type(error)}


def test_an_endpoint_that_vanished_reaches_the_thread_that_asks(make: Any, open_statement: Open) -> None:
    statement = open_statement(make.chat_answer())
    with ThreadPoolExecutor(1) as threads, pytest.raises(Exception, match="gone"):
        threads.submit(statement.ask, "gone", CHAT, asks("a"), fail_fast=True).result(PATIENCE_S)


def test_an_ask_that_cannot_be_packed_leaves_nobody_waiting(make: Any, open_statement: Open) -> None:
    statement = open_statement(embeddings(make))
    with pytest.raises(KeyError):
        statement.ask("emb", EMBEDDINGS, [Ask(b"k", {"no input": 1})], fail_fast=True)
    with ThreadPoolExecutor(1) as threads, pytest.raises(KeyError):
        threads.submit(statement.ask, "emb", EMBEDDINGS, [Ask(b"k", {})], fail_fast=True).result(PATIENCE_S)


# Embeddings


def test_embeddings_share_calls(make: Any, open_statement: Open) -> None:
    statement = open_statement(embeddings(make), embedding_batch_rows=4)
    words = ["x" * n for n in range(1, 11)]
    assert statement.ask("emb", EMBEDDINGS, texts(*words), fail_fast=True) == [[float(n)] for n in range(1, 11)]
    assert sorted(len(body["input"]) for body in sent(statement)) == [2, 4, 4]


def test_a_pack_holds_no_more_texts_than_its_provider_takes(
    make: Any, open_statement: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenAIAdapter, "abilities", Abilities(most_inputs=lambda model: 3))
    statement = open_statement(embeddings(make), embedding_batch_rows=4)
    words = ["x" * n for n in range(1, 9)]
    assert statement.ask("emb", EMBEDDINGS, texts(*words), fail_fast=True) == [[float(n)] for n in range(1, 9)]
    assert sorted(len(body["input"]) for body in sent(statement)) == [2, 3, 3]


def test_a_pack_holds_no_more_characters_than_a_provider_takes(make: Any, open_statement: Open) -> None:
    statement = open_statement(embeddings(make))
    half = packs.MAX_PACK_CHARACTERS // 2
    words = [letter * half for letter in "abcde"]
    statement.ask("emb", EMBEDDINGS, texts(*words), fail_fast=True)
    assert sorted(len(body["input"]) for body in sent(statement)) == [1, 2, 2]


def test_a_pack_holds_no_more_characters_than_its_own_provider_takes(
    make: Any, open_statement: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenAIAdapter, "abilities", Abilities(most_characters=10))
    statement = open_statement(embeddings(make))
    statement.ask("emb", EMBEDDINGS, texts(*(letter * 4 for letter in "abcde")), fail_fast=True)
    assert sorted(len(body["input"]) for body in sent(statement)) == [1, 2, 2]


def test_a_single_text_of_any_length_is_asked(make: Any, open_statement: Open) -> None:
    length = packs.MAX_PACK_CHARACTERS + 1
    statement = open_statement(embeddings(make))
    assert statement.ask("emb", EMBEDDINGS, texts("x" * length), fail_fast=True) == [[float(length)]]


def test_requests_that_differ_in_a_parameter_share_no_call(make: Any, open_statement: Open) -> None:
    statement = open_statement(embeddings(make))
    statement.ask("emb", EMBEDDINGS, [*texts("a", "b"), *texts("c", dimensions=2)], fail_fast=True)
    assert sorted(len(body["input"]) for body in sent(statement)) == [1, 2]


@pytest.mark.parametrize("code", [None, "context_length_exceeded", "content_filter"])
def test_one_bad_text_does_not_fail_its_neighbours(make: Any, open_statement: Open, code: str | None) -> None:
    statement = open_statement(embeddings(make, "bad", code))
    values = statement.ask("emb", EMBEDDINGS, texts("a", "bb", "bad one", "cccc", "ddddd"), fail_fast=False)
    assert [value if isinstance(value, list) else type(value) for value in values] == [
        [1.0],
        [2.0],
        ProviderError,
        [4.0],
        [5.0],
    ]
    assert (statement.progress.answered, statement.progress.failed) == (4, 1)


def test_where_every_text_is_bad_a_strict_statement_ends_after_few_calls(make: Any, open_statement: Open) -> None:
    statement = open_statement(make.failure(400), concurrency=1, embedding_batch_rows=64)
    words = texts(*map(str, range(64 * 20)))
    with pytest.raises(ProviderError):
        statement.ask("emb", EMBEDDINGS, words, fail_fast=True)
    assert len(sent(statement)) == 7  # 64, 32, 16, 8, 4, 2, 1


def test_the_progress_counts_tokens_and_dollars(make: Any, open_statement: Open) -> None:
    statement = open_statement(make.chat_answer())
    statement.ask("chat", CHAT, asks("a", "b"), fail_fast=True)
    assert (statement.progress.calls, statement.progress.tokens) == (2, 30)
    assert statement.progress.cost_usd == pytest.approx(2 * (10 * 0.15 + 5 * 0.6) / 1e6)


# More answers than memory is for


def echo(make: Any) -> Callable[[Any], Any]:
    return lambda request: make.chat_answer(orjson.loads(request.body)["messages"][0]["content"].upper())


WORDS = [f"row {number}" for number in range(100)]


def test_answers_that_left_memory_are_looked_up_and_not_asked_again(make: Any, open_statement: Open) -> None:
    statement = open_statement(echo(make), most=10)
    for _ in range(3):
        assert statement.ask("chat", CHAT, asks(*WORDS), fail_fast=True) == [word.upper() for word in WORDS]
    assert statement._answers.in_memory <= 10
    assert len(sent(statement)) == len(WORDS)


def test_a_pass_finds_the_answers_that_left_memory_and_asks_only_for_new_ones(make: Any, open_statement: Open) -> None:
    statement = open_statement(echo(make), most=10)

    def look_up(words: list[str]) -> list[Any]:
        run = statement.running = Pass(0)
        values = statement.values("chat", CHAT, asks(*words), fail_fast=True, stage=0)
        statement.running = None
        statement.wait(run)
        return values

    assert look_up(WORDS) == [UNKNOWN] * 100
    assert look_up(["new", *WORDS]) == [UNKNOWN, *(word.upper() for word in WORDS)]
    assert look_up(["new"]) == ["NEW"]
    assert len(sent(statement)) == len(WORDS) + 1
    assert statement._slots == {}


def test_threads_that_ask_the_same_while_answers_leave_memory_send_each_once(make: Any, open_statement: Open) -> None:
    statement = open_statement(echo(make), most=5)
    together = threading.Barrier(4)

    def run(shift: int) -> list[Any]:
        words = WORDS[shift:] + WORDS[:shift]
        together.wait(PATIENCE_S)
        return [statement.ask("chat", CHAT, asks(word), fail_fast=True)[0] for word in words]

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(run, (0, 0, 30, 60)))
    assert found[:2] == [[word.upper() for word in WORDS]] * 2
    assert len(sent(statement)) == len(WORDS)


def test_failures_that_left_memory_are_not_asked_again(make: Any, open_statement: Open) -> None:
    statement = open_statement(make.failure(400), most=0)
    first = statement.ask("chat", CHAT, asks("a", "b"), fail_fast=False)
    again = statement.ask("chat", CHAT, asks("a", "b"), fail_fast=False)
    assert [type(value) for value in again] == [ProviderError] * 2
    assert [str(value) for value in again] == [str(value) for value in first]
    with pytest.raises(ProviderError):
        statement.ask("chat", CHAT, asks("b"), fail_fast=True)
    assert len(sent(statement)) == 2


def test_a_failure_that_is_a_value_holds_nothing_of_its_request(make: Any, open_statement: Open) -> None:
    [error] = open_statement(make.failure(400)).ask("chat", CHAT, asks("a"), fail_fast=False)
    assert (error.__traceback__, error.__context__, error.__cause__) == (None, None, None)


def test_embeddings_that_left_memory_are_not_asked_again(make: Any, open_statement: Open) -> None:
    statement = open_statement(embeddings(make), most=3, embedding_batch_rows=4)
    words = ["x" * n for n in range(1, 11)]
    for _ in range(2):
        assert statement.ask("emb", EMBEDDINGS, texts(*words), fail_fast=True) == [[float(n)] for n in range(1, 11)]
    assert len(sent(statement)) == 3


def test_a_disk_without_room_stops_the_statement_and_says_so(make: Any, open_statement: Open, tmp_path: Path) -> None:
    statement = open_statement(make.chat_answer(), most=0)
    statement._answers = Answers(tmp_path / "gone", most=0)
    with pytest.raises(LedgerError, match="too many for memory"):
        statement.ask("chat", CHAT, asks("a"), fail_fast=False)


def test_the_end_of_a_statement_gives_the_room_on_the_disk_back(make: Any, open_statement: Open) -> None:
    statement = open_statement(make.chat_answer(), most=0)
    statement.ask("chat", CHAT, asks("a"), fail_fast=True)
    spilled = statement._answers._spilled
    assert spilled is not None
    files = list(spilled._files)
    assert files and all(file.close.alive for file in files)
    statement.end(well=True)
    assert not any(file.close.alive for file in files)
