"""A column as text: what DuckDB hands to a function, cast as `CAST(x AS VARCHAR)` casts it where it came from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from aiq.engines.duckdb.as_text import as_text
from aiq.errors import FunctionError


class Handed:
    """A connection that has its columns converted, as they are handed over to a function."""

    def __init__(self) -> None:
        self.con = duckdb.connect()
        self.con.create_function(
            "converted",
            lambda column, kind: as_text(column, kind[0].as_py()),
            None,
            "VARCHAR",
            type="arrow",
            null_handling="special",
        )

    def check(self, values: str, kind: str, *, named: bool = True) -> None:
        """Some values (SQL, a list of texts) of a type become the text that DuckDB casts them to.

        Without `named`, the name of their type is not known.
        """
        name = f"typeof(x::{kind})" if named else "''"
        rows = self.con.execute(
            f"SELECT CAST(x::{kind} AS VARCHAR), converted(x::{kind}, {name}) FROM (SELECT unnest({values}) AS x)"
        ).fetchall()
        assert rows and [text for _, text in rows] == [expected for expected, _ in rows]


@pytest.fixture
def handed() -> Iterator[Handed]:
    made = Handed()
    yield made
    made.con.close()


CASES = [
    ("['b', 'a', NULL]", "ENUM('a', 'b')"),
    ("[true, false, NULL]", "BOOLEAN"),
    ("[-128, 127, NULL]", "TINYINT"),
    ("[-32768, 32767]", "SMALLINT"),
    ("[-2147483648, NULL, 2147483647]", "INTEGER"),
    ("['-9223372036854775808', '9223372036854775807', NULL]", "BIGINT"),
    ("['18446744073709551615', '0']", "UBIGINT"),
    ("['-170141183460469231731687303715884105728', '170141183460469231731687303715884105727', '0', NULL]", "HUGEINT"),
    ("['-1.10', '999999.99', '0', NULL]", "DECIMAL(8, 2)"),
    ("['-0.001', '99999999999999999999999999999999999.999', NULL]", "DECIMAL(38, 3)"),
    ("['99999999999999999999999999999999999999', '-1', NULL]", "DECIMAL(38, 0)"),
    ("['1e300', '-0.0', '1', '0.1', 'nan', 'inf', '-inf', NULL]", "DOUBLE"),
    ("['1e30', '0.1', '16777217', NULL]", "FLOAT"),
    ("['00:00:00', '23:59:59.999999', '24:00:00', NULL]", "TIME"),
    ("['2024-02-29', 'infinity', '-infinity', '0044-03-15 (BC)', '5881580-07-10', NULL]", "DATE"),
    (
        "['2024-02-29 12:00:00', '2024-02-29 12:00:00.000001', 'infinity', '-infinity', '0044-03-15 (BC) 01:02:03', "
        "NULL]",
        "TIMESTAMP",
    ),
    ("['2024-02-29 12:00:00', 'infinity', NULL]", "TIMESTAMP_S"),
    ("['2024-02-29 12:00:00.123', '-infinity', NULL]", "TIMESTAMP_MS"),
    ("['2024-02-29 12:00:00.123456789', '1700-01-01', NULL]", "TIMESTAMP_NS"),
    ("['1 year 2 months -3 days 04:05:06.789', '-1 month', '-00:00:01.5', '0 days', '100 years', NULL]", "INTERVAL"),
    ("['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', NULL]", "UUID"),
    ("""['{"a": [1, null]}', '3', NULL]""", "JSON"),
    ("['', 'text', NULL]", "VARCHAR"),
]
BY_NAME = [
    ("['101', '0', '000000001', NULL]", "BIT"),
    ("['340282366920938463463374607431768211455', '0', NULL]", "UHUGEINT"),
]
"""Where the type's name has to be known, because Arrow has no such type."""
ZONED = "['2024-02-29 12:00:00+00', 'infinity', '-infinity', '0044-03-15 (BC) 00:00:00+00', '1800-01-01 00:00:00+00']"


@pytest.mark.parametrize(("values", "kind"), CASES, ids=[kind for _, kind in CASES])
@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("lossless", [True, False], ids=["lossless", "usual"])
def test_a_scalar_is_the_text_that_duckdb_casts_it_to(
    handed: Handed, values: str, kind: str, named: bool, lossless: bool
) -> None:
    handed.con.execute(f"SET arrow_lossless_conversion = {lossless}")
    handed.check(values, kind, named=named)


@pytest.mark.parametrize(("values", "kind"), BY_NAME, ids=[kind for _, kind in BY_NAME])
def test_what_arrow_has_no_type_for_is_known_by_its_name(handed: Handed, values: str, kind: str) -> None:
    handed.check(values, kind)


@pytest.mark.parametrize("kind", ["TIMETZ", "BIT", "UHUGEINT"])
def test_where_duckdb_hands_over_everything_the_name_is_not_needed(handed: Handed, kind: str) -> None:
    values = {"TIMETZ": "['00:00:00+05', '23:59:59.999999-08:30', NULL]", **{kind: values for values, kind in BY_NAME}}
    handed.con.execute("SET arrow_lossless_conversion = true")
    handed.check(values[kind], kind, named=False)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata", "America/New_York"])
def test_a_time_with_time_zone_prints_in_the_zone_of_the_session(handed: Handed, zone: str) -> None:
    handed.con.execute(f"SET TimeZone = '{zone}'")
    handed.check(ZONED, "TIMESTAMPTZ", named=False)


def test_a_time_of_day_whose_zone_is_lost_is_refused(handed: Handed) -> None:
    with pytest.raises(duckdb.Error, match=r"without its zone\. Write CAST"):
        handed.check("['00:00:00+05']", "TIMETZ")


@pytest.mark.parametrize("column", [["a", None], [b"a"], [[1]], [{"a": 1}], [None]], ids=str)
def test_text_bytes_and_nested_values_are_left_as_they_are(column: list[Any]) -> None:
    given = pa.chunked_array([column])
    assert as_text(given) is given


def test_no_rows_are_no_texts() -> None:
    for kind in (pa.int64(), pa.float64(), pa.decimal128(38, 0), pa.timestamp("us", "UTC")):
        assert as_text(pa.chunked_array([], kind)).to_pylist() == []


def test_rows_that_come_in_pieces_keep_their_order() -> None:
    whole = pa.array([0.5, None, 1.5, 2.5, None])
    assert as_text(pa.chunked_array([whole.slice(1, 2), whole.slice(3)])).to_pylist() == [None, "1.5", "2.5", None]
    numbers = pa.array([1, None, 3, 4], pa.decimal128(38, 0))
    assert as_text(pa.chunked_array([numbers.slice(1)])).to_pylist() == [None, "3", "4"]


def test_a_type_that_cannot_be_cast_is_told_and_the_next_column_is_converted() -> None:
    strange = pa.chunked_array([pa.array([1], pa.decimal256(60, 2))])
    with pytest.raises(FunctionError, match=r"Write CAST\(\.\.\. AS VARCHAR\)"):
        as_text(strange)
    assert as_text(pa.chunked_array([[0.5]])).to_pylist() == ["0.5"]


def test_several_threads_convert_at_once() -> None:
    zones = ["UTC", "Asia/Kolkata", "America/New_York"]
    found: dict[int, set[str]] = {}

    def run(number: int) -> None:
        column = pa.chunked_array([pa.array([0], pa.timestamp("us", zones[number]))])
        found[number] = {as_text(column)[0].as_py() for _ in range(50)}

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {
        0: {"1970-01-01 00:00:00+00"},
        1: {"1970-01-01 05:30:00+05:30"},
        2: {"1969-12-31 19:00:00-05"},
    }
