"""Groups: how records look in the spool, and what comes out of it again."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from aiq.ledger import groups
from aiq.ledger.records import MAX_PAYLOAD_BYTES, Intent, Outcome, StatementRow

Make = Callable[..., Outcome]


def decoded(*payloads: bytes) -> tuple[groups.Outcomes, groups.OpenIntents]:
    intents: groups.OpenIntents = {}
    outcomes = groups.decode(list(enumerate(payloads, 1)), groups.default_fields(), intents)
    return outcomes, intents


def statement(name: str) -> StatementRow:
    return StatementRow(name, "SELECT 1", "ann", "duckdb", 1, cost_usd=None)


def test_outcomes_come_back_as_columns(outcome: Make) -> None:
    first, second = outcome("a", usage_context={"team": "x"}), outcome("b", latency_ms=None)
    outcomes, _ = decoded(groups.encode([], [first]), groups.encode([], [second]))
    assert outcomes.seq == [1, 2]
    assert list(zip(*outcomes.columns.values(), strict=True)) == [tuple(first), tuple(second)]


def test_a_value_that_all_rows_share_is_written_once(outcome: Make, intent: Callable[..., Intent]) -> None:
    rows = [outcome(f"r{number}", usage_context={"team": "x"}, latency_ms=float(number)) for number in range(50)]
    payload = groups.encode([intent(f"open{number}") for number in range(3)], rows)
    assert payload.count(b"ann@example.com") == 2  # of the intents, and of the outcomes
    outcomes, still_open = decoded(payload)
    assert list(zip(*outcomes.columns.values(), strict=True)) == [tuple(row) for row in rows]
    assert list(still_open.values()) == [intent(f"open{number}") for number in range(3)]


def test_text_that_is_no_unicode_and_shared_by_all_rows_is_replaced(outcome: Make) -> None:
    outcomes, _ = decoded(groups.encode([], [outcome(str(number), error_message="\ud83d") for number in range(2)]))
    assert outcomes.columns["error_message"] == ["?", "?"]


def test_an_intent_is_open_until_its_outcome_comes(outcome: Make, intent: Callable[..., Intent]) -> None:
    _, still_open = decoded(groups.encode([intent("a"), intent("b")], []), groups.encode([], [outcome("a")]))
    assert list(still_open.values()) == [intent("b")]


def test_each_attempt_is_open_for_itself(outcome: Make, intent: Callable[..., Intent]) -> None:
    _, still_open = decoded(groups.encode([intent("a", 1), intent("a", 2)], [outcome("a", attempt=1)]))
    assert list(still_open) == [("a", 2)]


@pytest.mark.parametrize("field", ["request", "response"])
def test_a_payload_over_the_limit_is_spooled_as_its_size(outcome: Make, field: str) -> None:
    text = "ü" * (MAX_PAYLOAD_BYTES // 2 + 1)
    outcomes, _ = decoded(groups.encode([], [outcome(**{field: text})]))
    assert outcomes.columns[field] == [MAX_PAYLOAD_BYTES + 2]


def test_a_payload_of_exactly_the_limit_is_kept(outcome: Make) -> None:
    text = "ü" * (MAX_PAYLOAD_BYTES // 2)
    outcomes, _ = decoded(groups.encode([], [outcome(request=text)]))
    assert outcomes.columns["request"] == [text]


def test_text_that_is_no_unicode_does_not_hold_up_the_group(outcome: Make) -> None:
    broken = outcome("a", error_message="half \ud83d a pair", input_tokens=2**70)
    outcomes, _ = decoded(groups.encode([], [broken, outcome("b")]))
    assert outcomes.columns["error_message"] == ["half ? a pair", None]
    assert outcomes.columns["input_tokens"] == [None, 10]


def test_groups_of_a_version_with_other_columns_are_understood(outcome: Make) -> None:
    names = [name for name in Outcome._fields if name != "streaming"]
    values = outcome("a")._asdict()
    old = [[list(Intent._fields), [*names, "dropped"]], [], []]
    group = [None, [], [[values[name]] for name in names] + [["x"]]]
    outcomes, _ = decoded(orjson.dumps(old), orjson.dumps(group))
    assert outcomes.columns["response"] == ['{"a":1}']
    assert outcomes.columns["streaming"] == [False]


def test_what_is_kept_of_forgotten_groups_opens_the_same_intents(intent: Callable[..., Intent]) -> None:
    kept = groups.encode_kept(groups.default_fields(), {("a", 1): intent("a")})
    _, still_open = decoded(kept)
    assert list(still_open.values()) == [intent("a")]


def test_a_statement_runs_until_its_end_is_read_also_over_a_forgotten_group(outcome: Make) -> None:
    first, second = statement("a"), statement("b")
    running: groups.OpenStatements = {}
    read = groups.decode([(1, groups.encode([], [], [first, second]))], groups.default_fields(), {}, running)
    assert (read.statements, running) == ([], {"a": first, "b": second})
    kept: groups.OpenStatements = {}
    groups.decode([(1, groups.encode_kept(groups.default_fields(), {}, running))], groups.default_fields(), {}, kept)
    assert kept == running
    ended = first._replace(status="ok", end_us=2, requests=3)
    read = groups.decode([(2, groups.encode([], [outcome("r")], [ended]))], groups.default_fields(), {}, kept)
    assert (read.statements, kept) == ([(2, ended)], {"b": second})


def test_a_statement_of_another_version_is_read_as_far_as_it_is_known() -> None:
    row = {**statement("a")._asdict(), "status": "ok", "warehouse": "w"}
    del row["cost_usd"]
    read = groups.decode([(1, orjson.dumps([None, [], [], [row]]))], groups.default_fields(), {})
    assert read.statements == [(1, statement("a")._replace(status="ok"))]
