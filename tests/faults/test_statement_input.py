"""A statement with input that cannot work: each gets its own clear error, and no call is made in vain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import aiq
from aiq.errors import AiqError, ConfigError, LedgerError, ProviderError, SecretError, StatementError
from aiq.simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

Ledger = Callable[..., list[dict[str, Any]]]


def test_a_missing_secret_names_its_variable_and_makes_no_call(
    conf: ConfFolder, home: Path, simulator: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf.endpoint("chat", conf.entity("main", "gpt-4o", key="{{secrets/openai/key}}"))
    with aiq.connect(conf=conf.path, home=home) as session:
        with pytest.raises(SecretError, match="AIQ_SECRET_OPENAI_KEY"):
            session.sql("SELECT ai_query('chat', 'Hi.') AS r")
        assert simulator.stats()["requests"] == 0
        monkeypatch.setenv("AIQ_SECRET_OPENAI_KEY", "sk-found")
        assert session.sql("SELECT ai_query('chat', 'Hi.') AS r") is not None
    assert simulator.attempts()[0]["key"] == "ound"


def test_an_endpoint_without_its_secret_does_not_hinder_the_others(conf: ConfFolder, home: Path) -> None:
    conf.endpoint("other", conf.entity("main", "gpt-4o", key="{{secrets/openai/key}}"))
    with aiq.connect(conf=conf.path, home=home) as session:
        assert session.sql("SELECT ai_query('chat', 'Hi.') AS r") is not None


def test_a_home_where_nobody_may_write_is_told_at_connect(conf: ConfFolder) -> None:
    # Not a folder without write permission: root may write there all the same, and CI runs as root.
    with pytest.raises(LedgerError, match=r"is not writable.*AIQ_HOME"):
        aiq.connect(conf=conf.path, home="/proc/aiq")


def test_a_home_that_is_a_file_is_told_at_connect(conf: ConfFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=r"is not writable.*AIQ_HOME"):
        aiq.connect(conf=conf.path, home=tmp_path / "file" / "home")


def test_a_conf_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        aiq.connect(conf=tmp_path / "nowhere", home=tmp_path / "home")


def test_a_prompt_of_ten_megabytes_goes_through(
    conf: ConfFolder, home: Path, simulator: SimulatorProcess, ledger_rows: Ledger
) -> None:
    with aiq.connect(conf=conf.path, home=home) as session:
        result = session.sql("SELECT ai_query('chat', repeat('Ten bytes ', 1048576)) AS r")
        assert result is not None and result.fetchall()[0][0].startswith("[simulated]")
    assert simulator.attempts()[0]["body_bytes"] > 10 * 1024 * 1024
    (row,) = ledger_rows("main.ai.chat_payload")
    assert row["request"] is None and row["logging_error_codes"] == ["MAX_REQUEST_SIZE_EXCEEDED"]


def test_an_answer_above_the_cap_is_refused_and_names_the_setting(conf: ConfFolder, home: Path) -> None:
    conf.settings(
        max_response_bytes=2048, retries=0, endpoints={"model": {"model_server": {"url": "http://127.0.0.1:9"}}}
    )
    with aiq.connect(conf=conf.path, home=home) as session, pytest.raises(ProviderError, match="max_response_bytes"):
        session.sql("SELECT ai_query('emb', 'x', modelParameters => {'dimensions': 4000}) AS r")


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("SELECT ai_query('chat', 'bad \ud800') AS r", None),
        ("SELECT ai_query('chat', ?) AS r", ["bad \udfff"]),
        ("SELECT ai_query('chat', $p) AS r", {"p": "bad \ud83d"}),
    ],
)
def test_a_lone_surrogate_is_told_with_its_place_and_makes_no_call(
    conf: ConfFolder, home: Path, simulator: SimulatorProcess, text: str, params: Any
) -> None:
    with aiq.connect(conf=conf.path, home=home) as session:
        with pytest.raises(StatementError, match=r"lone surrogate at position \d+"):
            session.sql(text, params)
        assert simulator.stats()["requests"] == 0
        assert session.sql("SELECT ai_query('chat', 'Good.') AS r") is not None


def test_a_lone_surrogate_in_a_table_is_an_error_and_not_a_crash(conf: ConfFolder, home: Path) -> None:
    broken = pa.table(
        {
            "body": pa.Array.from_buffers(
                pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\3\0\0\0"), pa.py_buffer(b"\xed\xa0\x80")]
            )
        }
    )
    with aiq.connect(conf=conf.path, home=home) as session:
        with pytest.raises((AiqError, Exception), match=r"(?i)utf|unicode|invalid"):
            session.sql("SELECT ai_query('chat', body) AS r FROM broken")
        assert session.sql("SELECT ai_query('chat', 'Good.') AS r") is not None
    assert broken.num_rows == 1


def test_a_file_that_is_no_image_and_no_pdf_fails_before_any_call(
    conf: ConfFolder, home: Path, tmp_path: Path, simulator: SimulatorProcess
) -> None:
    (tmp_path / "a.docx").write_bytes(b"PK\x03\x04 ...")
    words = "begins with the bytes 50 4b 03 04"
    with aiq.connect(conf=conf.path, home=home) as session, pytest.raises(StatementError, match=words):
        session.sql(f"SELECT ai_query('chat', 'Read.', files => content) AS r FROM read_blob('{tmp_path}/a.docx')")
    assert simulator.stats()["requests"] == 0


def test_a_changed_configuration_is_seen_by_the_next_session(conf: ConfFolder, home: Path) -> None:
    with aiq.connect(conf=conf.path, home=home) as session, pytest.raises(StatementError, match="'new' does not exist"):
        session.sql("SELECT ai_query('new', 'Hi.') AS r")
    conf.endpoint("new", model="gpt-4o")
    with aiq.connect(conf=conf.path, home=home) as session:
        assert session.sql("SELECT ai_query('new', 'Hi.') AS r") is not None


def test_a_ledger_table_that_somebody_damaged_costs_no_answer(conf: ConfFolder, home: Path) -> None:
    with aiq.connect(conf=conf.path, home=home) as session:
        session.sql("SELECT ai_query('chat', 'One.') AS r")
        log = home / "tables" / "system" / "aiq" / "calls" / "_delta_log"
        for file in log.glob("*.json"):
            file.write_text("not json\n")
        with pytest.warns(UserWarning, match="wait in"):
            result = session.sql("SELECT ai_query('chat', 'Two.') AS r")
        assert result is not None and result.fetchall()[0][0].endswith("Two.")
