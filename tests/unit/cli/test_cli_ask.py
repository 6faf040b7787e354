"""`aiq ask`: one question through the gateway, printed as it comes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from aiq.ledger.records import CALLS_TABLE
from aiq.ledger.tables import Tables
from aiq.simulator.process import SimulatorProcess

Run = Callable[..., CompletedProcess[str]]


def test_a_question_and_a_text_below_it_are_answered_and_recorded(run: Run, folder: Path) -> None:
    done = run("ask", "chat", "Summarise this:", "--system", "Be kind.", "--max-tokens", "40", stdin="A letter.\n")
    assert done.returncode == 0 and done.stdout.startswith("[simulated]") and done.stdout.endswith("\n"), done.stderr
    assert re.fullmatch(r"1 request \(0 reused, 0 failed\), \d+ tokens, \$0\.\d+, \d+\.\d s\n", done.stderr)
    tables = Tables(folder / ".aiq")
    (payload,) = tables.to_arrow("main.aiq.chat_payload").to_pylist()
    body = json.loads(payload["request"])
    assert body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Summarise this:\n\nA letter."},
    ]
    (row,) = tables.to_arrow(CALLS_TABLE).to_pylist()
    assert (body["max_tokens"], row["status"], row["requester"]) == (40, "ok", "ann@example.com")
    assert row["time_to_first_token_ms"] is not None  # it came as a stream


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [(["embeddings", "x"], 1, "answers no question"), (["chat"], 2, "give a question"), (["caht", "x"], 1, "'chat'")],
)
def test_what_cannot_be_asked_is_said_before_any_call(
    run: Run, simulator: SimulatorProcess, words: list[str], code: int, said: str
) -> None:
    simulator.reset()
    done = run("ask", *words)
    assert (done.returncode, said in done.stderr, simulator.stats()["requests"]) == (code, True, 0), done.stderr
