"""A statement's answers past what memory is for them: found again as they were, wherever they lie."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from aiq.answers.spilled import SpilledAnswers
from aiq.answers.unfinished import UnfinishedAnswers
from aiq.batch.answers import Answers
from aiq.errors import LedgerError, PolicyError, ProviderError, RequestFailed


def key(number: int) -> bytes:
    return blake2b(number.to_bytes(8, "big"), digest_size=16).digest()


def spilled(folder: Path, *values: Any) -> list[Any]:
    """The values as they come back from the file."""
    answers = Answers(folder, most=0)
    for number, value in enumerate(values):
        answers.add(key(number), value)
    assert answers.in_memory == 0
    found = answers.find([key(number) for number in range(len(values))])
    answers.close()
    return [found[key(number)] for number in range(len(values))]


def test_no_more_answers_than_allowed_stay_in_memory_and_all_are_found(tmp_path: Path) -> None:
    answers = Answers(tmp_path, most=10)
    for number in range(100):
        answers.add(key(number), str(number))
        assert answers.in_memory <= 10
    wanted = [key(number) for number in (99, 0, 50, 1000)]
    assert answers.find(wanted) == {key(99): "99", key(0): "0", key(50): "50"}
    answers.close()


def test_no_more_bytes_than_allowed_stay_in_memory(tmp_path: Path) -> None:
    answers = Answers(tmp_path, most_bytes=10_000)
    vector = [0.5] * 1000  # 32 KB in memory
    answers.add(key(1), vector)
    assert answers.in_memory == 0
    assert answers.find([key(1)]) == {key(1): vector}
    answers.close()


@pytest.mark.parametrize(
    "value", ["", "é\0\U0001f600", None, [0.1, -1e-300, 3.0], [{"a": [1, None, True]}], {"b": "!"}, [], "!"]
)
def test_values_come_back_as_they_were(tmp_path: Path, value: Any) -> None:
    assert spilled(tmp_path, value) == [value]


def test_failures_come_back_with_their_words(tmp_path: Path) -> None:
    provider = ProviderError("slow \ud800", kind="timeout", status=504, endpoint="chat", entity="main", retry_after_s=1)
    provider.attempts = 3
    policy = PolicyError("blocked", endpoint="chat", status=429, error_code="REQUEST_LIMIT_EXCEEDED")
    back = spilled(tmp_path, provider, policy, RequestFailed("no", endpoint="chat", status=500))
    assert [type(error) for error in back] == [ProviderError, PolicyError, RequestFailed]
    assert back[0].sql_message() == provider.sql_message().replace("\ud800", "?")
    assert back[1].sql_message() == policy.sql_message()
    assert (back[0].kind, back[1].error_code) == ("timeout", "REQUEST_LIMIT_EXCEEDED")


class Blocked(PolicyError):
    """A kind of failure with more on it than words."""

    def __init__(self, findings: tuple[str, ...], report: dict[str, bool]) -> None:
        super().__init__("blocked", endpoint="chat", status=400, error_code="BAD_REQUEST")
        self.findings, self.report, self.cause = findings, report, object()


def test_failures_of_any_kind_come_back_with_what_json_can_carry(tmp_path: Path) -> None:
    [back] = spilled(tmp_path, Blocked(("pii:EMAIL",), {"flagged": True}))
    assert isinstance(back, Blocked)
    assert (back.findings, back.report, back.cause) == (("pii:EMAIL",), {"flagged": True}, None)


def test_nothing_is_left_on_the_disk(tmp_path: Path) -> None:
    spilled(tmp_path, *map(str, range(100)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_room_says_what_to_do(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "gone", most=0)
    with pytest.raises(LedgerError, match=r"cannot write the temporary file in .*gone.*AIQ_HOME"):
        answers.add(key(1), "a")


def test_a_full_disk_loses_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(tmp_path, most=1)
    answers.add(key(1), "a")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LedgerError, match="No space left on device"):
        answers.add(key(2), "b")
    monkeypatch.undo()
    assert answers.find([key(1), key(2)]) == {key(1): "a", key(2): "b"}
    answers.close()


def test_a_write_that_takes_only_a_part_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:3]))
    assert spilled(tmp_path, "a long answer", "another") == ["a long answer", "another"]


# The log that is kept for running the statement again


SCOPE = bytes(16)


@pytest.fixture
def unfinished(tmp_path: Path) -> UnfinishedAnswers:
    return UnfinishedAnswers(tmp_path / "answers", max_bytes=1 << 20, keep_s=100.0, clock=lambda: 1000.0)


def kept(unfinished: UnfinishedAnswers, folder: Path, numbers: Iterable[int], *, most: int = 0) -> Answers:
    """Answers of a statement, some of which were kept before they were taken."""
    answers = Answers(folder, most=most)
    answers.log = lambda: unfinished.log("st")
    for number in numbers:
        if number % 10:  # what another statement has answered is not in the log of this one
            unfinished.keep("st", SCOPE, [(key(number), f'"{number}"')])
        answers.add(key(number), str(number))
    return answers


def own_bytes(answers: Answers) -> int:
    assert answers._spilled is not None
    return 0 if answers._spilled._own is None else answers._spilled._own.size


def test_what_is_in_the_log_is_read_there_and_written_once(unfinished: UnfinishedAnswers, tmp_path: Path) -> None:
    answers = kept(unfinished, tmp_path, range(1, 10))
    assert own_bytes(answers) == 0
    assert answers.find([key(number) for number in range(20)]) == {key(n): str(n) for n in range(1, 10)}
    answers.close()
    unfinished.close()


def test_what_is_not_in_the_log_is_written_beside_it(unfinished: UnfinishedAnswers, tmp_path: Path) -> None:
    answers = kept(unfinished, tmp_path, range(100), most=5)
    assert 0 < own_bytes(answers) < 1000
    assert answers.find([key(number) for number in range(100)]) == {key(n): str(n) for n in range(100)}
    answers.close()
    unfinished.close()


@pytest.mark.parametrize("how", ["finish", "abandon"])
def test_answers_of_a_log_are_found_until_they_are_closed(
    unfinished: UnfinishedAnswers, tmp_path: Path, how: str
) -> None:
    """A statement ends before the last thread has what it looks up."""
    answers = kept(unfinished, tmp_path, range(1, 10))
    getattr(unfinished, how)("st")
    assert answers.find([key(3)]) == {key(3): "3"}
    answers.close()
    assert len(unfinished.resumable(SCOPE, [key(3)])) == (how == "abandon")


def test_a_log_that_is_full_loses_no_answer(tmp_path: Path) -> None:
    unfinished = UnfinishedAnswers(tmp_path / "answers", max_bytes=500, keep_s=100.0, clock=lambda: 1000.0)
    answers = kept(unfinished, tmp_path, range(100))
    assert own_bytes(answers) > 500
    assert answers.find([key(number) for number in range(100)]) == {key(n): str(n) for n in range(100)}
    answers.close()
    unfinished.close()


# The files


def small_spill(folder: Path, count: int) -> SpilledAnswers:
    """Answers whose places are several sorted runs."""
    spill = SpilledAnswers(folder, run_entries=64, filter_bits=1 << 10)
    for start in range(0, count, 10):
        spill.add([(key(number), b"%d" % number) for number in range(start, min(start + 10, count))])
    return spill


def test_every_key_of_many_runs_is_found_and_no_other(tmp_path: Path) -> None:
    spill = small_spill(tmp_path, 1000)
    assert len(spill._places._stored) == 14
    for start in (0, 500, 990):  # in the order of the rows, and again from the beginning
        keys = [key(number) for number in range(start, start + 20)]
        assert spill.find(keys) == {key(n): b"%d" % n for n in range(start, min(start + 20, 1000))}
    assert len(spill.find([key(number) for number in range(2000)])) == 1000
    spill.close()


def test_keys_that_share_their_first_half_are_told_apart(tmp_path: Path) -> None:
    spill = SpilledAnswers(tmp_path, run_entries=8)
    keys = [b"the same" + number.to_bytes(8, "big") for number in range(20)]
    spill.add([(one, b"%d" % number) for number, one in enumerate(keys[:19])])
    assert spill.find(keys) == {one: b"%d" % number for number, one in enumerate(keys[:19])}
    spill.close()


def test_keys_of_another_length_are_refused(tmp_path: Path) -> None:
    spill = SpilledAnswers(tmp_path)
    with pytest.raises(ValueError, match="16 bytes"):
        spill.add([(b"short", b"1")])
    spill.close()


def test_a_file_that_was_cut_says_so(tmp_path: Path) -> None:
    spill = SpilledAnswers(tmp_path)
    spill.add([(key(1), b"value")])
    os.ftruncate(spill._files[0].descriptor, 2)
    with pytest.raises(LedgerError, match="run the statement again"):
        spill.find([key(1)])
    spill.close()
