"""Nobody gets another's answer, and no key gets another key's, whatever the bytes look like."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.answers.store import AnswerStore

# Few bytes, so that scopes and keys are equal in part, swapped, or end in zeros as often as can be.
ids = st.lists(st.sampled_from([b"\0", b"\1", b"\xff", b"'"]), min_size=2, max_size=2).map(
    lambda ends: ends[0] * 8 + ends[1] * 8
) | st.sampled_from([b"\0" * 16, b"\0" * 15 + b"\1", b"\1" + b"\0" * 15, b"\xff" * 16])
writes = st.lists(
    st.tuples(st.sampled_from(["st1", "st2"]), ids, st.lists(st.tuples(ids, st.text(max_size=5)), max_size=4)),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(writes, st.lists(ids, max_size=6))
def test_a_scope_finds_exactly_its_own_answers(
    written: list[tuple[str, bytes, list[tuple[bytes, str]]]], asked: list[bytes]
) -> None:
    with tempfile.TemporaryDirectory() as home:
        store = AnswerStore.open(Path(home), clock=lambda: 1000.0)
        durable: dict[tuple[bytes, bytes], str] = {}
        kept: dict[tuple[bytes, bytes], set[str]] = {}
        for statement, scope, entries in written:
            store.keep(statement, scope, entries)
            store.remember(scope, 60.0, entries)
            for key, value in entries:
                durable[scope, key] = value
                if statement == "st1":
                    kept.setdefault((scope, key), set()).add(value)
        store.abandon("st1")
        for scope in {scope for _, scope, _ in written} | set(asked):
            expected = {key: durable[scope, key] for key in asked if (scope, key) in durable}
            assert store.recall(scope, asked, 1000.0) == expected
            resumed = store.resumable(scope, asked)
            assert resumed.keys() == {key for key in asked if (scope, key) in kept}
            assert all(value in kept[scope, key] for key, value in resumed.items())
        store.close()
