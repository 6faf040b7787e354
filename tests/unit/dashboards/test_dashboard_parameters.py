"""Values of parameters, and dates that are relative to now."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from aiq.dashboards.model import Dataset, DatasetParameter, Selection
from aiq.dashboards.parameters import bound, moment, names_in
from aiq.errors import AiqError
from tests.unit.dashboards.boards import NOW


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("now", "2026-11-30T12:34:56.789", "2026-11-30T12:34:56.789"),
        ("now/d", "2026-11-30T00:00:00", "2026-11-30T23:59:59.999999"),
        ("now-7d/d", "2026-11-23T00:00:00", "2026-11-23T23:59:59.999999"),
        ("now-24h", "2026-11-29T12:34:56.789", "2026-11-29T12:34:56.789"),
        ("now/h", "2026-11-30T12:00:00", "2026-11-30T12:59:59.999999"),
        ("now-12M/M", "2025-11-01T00:00:00", "2025-11-30T23:59:59.999999"),
        ("now+3M", "2027-02-28T12:34:56.789", "2027-02-28T12:34:56.789"),
        ("now-1M-1d/d", "2026-10-29T00:00:00", "2026-10-29T23:59:59.999999"),
        ("now/w", "2026-11-30T00:00:00", "2026-12-06T23:59:59.999999"),
        ("now/Q", "2026-10-01T00:00:00", "2026-12-31T23:59:59.999999"),
        ("now-1y/y", "2025-01-01T00:00:00", "2025-12-31T23:59:59.999999"),
        ("2026-02-03", "2026-02-03T00:00:00", "2026-02-03T23:59:59.999999"),
        ("2026-02-03T04:05:06+01:00", "2026-02-03T03:05:06", "2026-02-03T03:05:06"),
    ],
)
def test_the_ends_of_a_relative_time(text: str, low: str, high: str) -> None:
    ends = [moment(text, NOW), moment(text, NOW, high=True)]
    assert ends == [datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (low, high)]


def test_names_in_texts_and_comments_are_no_parameters() -> None:
    assert names_in("SELECT ':a', `:b`, x::INT, :c -- :d\n, :e.min, \":f\" FROM t") == {"c", "e"}


def dataset(text: str, *parameters: DatasetParameter) -> Dataset:
    return Dataset("d", "D", text, parameters)


def test_each_kind_of_parameter_is_bound_as_its_type() -> None:
    found = bound(
        dataset(
            "SELECT :s, :i, :d, :day, :at, :many, :span.min, :days.max",
            DatasetParameter("s", "s", default=Selection(("x'; DROP TABLE t",))),
            DatasetParameter("i", "i", "INTEGER", default=Selection(("7",))),
            DatasetParameter("d", "d", "DECIMAL", default=Selection(("0.10",))),
            DatasetParameter("day", "day", "DATE", default=Selection(("now/M",))),
            DatasetParameter("at", "at", "DATETIME", default=Selection(("now/M",))),
            DatasetParameter("many", "many", "STRING", "MULTI"),
            DatasetParameter("span", "span", "DATETIME", "RANGE", Selection((), "now/d", "now/d")),
            DatasetParameter("days", "days", "DATE", "RANGE", Selection((), "now-1M/M", "now-1M/M")),
            DatasetParameter("unused", "unused"),
        ),
        {"many": Selection(("a", "b"))},
        NOW,
    )
    midnight = datetime(2026, 11, 30, tzinfo=UTC)
    assert found == {
        "s": "x'; DROP TABLE t", "i": 7, "d": Decimal("0.10"), "day": date(2026, 11, 1),
        "at": datetime(2026, 11, 1, tzinfo=UTC), "many": ["a", "b"],
        "span": {"min": midnight, "max": datetime(2026, 11, 30, 23, 59, 59, 999999, UTC)},
        "days": {"min": date(2026, 10, 1), "max": date(2026, 10, 31)},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        (DatasetParameter("p", "The page"), "the parameter The page has no value; choose one"),
        (DatasetParameter("p", "P", "INTEGER", default=Selection(("x",))), "'x' is no INTEGER for the parameter P"),
        (DatasetParameter("p", "P", "DATE", default=Selection(("soon",))), "'soon' is no DATE"),
        (DatasetParameter("p", "P", "DATE", "RANGE", Selection((), "now")), "needs both ends"),
        (DatasetParameter("q", "Q"), "names the parameter :p, which the file does not define"),
    ],
)
def test_a_value_that_is_missing_or_wrong_is_said(parameter: DatasetParameter, words: str) -> None:
    with pytest.raises(AiqError, match=words):
        bound(dataset("SELECT :p", parameter), {}, NOW)
