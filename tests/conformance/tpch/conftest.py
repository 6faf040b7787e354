"""A small database in the shape of TPC-H, the same each time: eight tables whose values the 22 queries look for.

Not TPC-H's own generator and not its distributions: every table is a few dozen to a thousand rows.
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

if TYPE_CHECKING:
    from tests.conformance.conftest import Beside

REGIONS = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"]
NATIONS = {
    "ALGERIA": 0,
    "BRAZIL": 1,
    "CANADA": 1,
    "CHINA": 2,
    "EGYPT": 4,
    "FRANCE": 3,
    "GERMANY": 3,
    "INDIA": 2,
    "JAPAN": 2,
    "KENYA": 0,
    "ROMANIA": 3,
    "SAUDI ARABIA": 4,
    "UNITED STATES": 1,
}
COLOURS = ["green", "forest", "red", "blue", "ivory", "linen"]
TYPES = [
    f"{a} {b} {c}"
    for a in ("STANDARD", "PROMO", "ECONOMY", "MEDIUM")
    for b in ("ANODIZED", "POLISHED", "BRUSHED")
    for c in ("STEEL", "BRASS", "TIN")
]
CONTAINERS = ["SM CASE", "SM BOX", "MED BAG", "MED BOX", "LG CASE", "LG BOX", "WRAP CASE"]
SEGMENTS = ["AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY"]
PRIORITIES = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"]
MODES = ["AIR", "AIR REG", "MAIL", "SHIP", "TRUCK", "RAIL"]
INSTRUCTIONS = ["DELIVER IN PERSON", "COLLECT COD", "NONE"]
REMARKS = [
    "quick deposits sleep",
    "special packages requests",
    "Customer even Complaints",
    "bold accounts nag",
    "pending",
]

SUPPLIERS, CUSTOMERS, PARTS, ORDERS = 20, 60, 80, 400
_MONEY, _KEY = pa.decimal128(15, 2), pa.int64()


def _money(value: float) -> Decimal:
    return Decimal(round(value * 100)).scaleb(-2)


def tables() -> dict[str, pa.Table]:
    """The eight tables by name."""
    rng = random.Random(1992)
    pick = rng.choice
    nations = list(NATIONS)

    def phone() -> str:
        return (
            f"{rng.randrange(10, 35)}-{rng.randrange(100, 999)}-{rng.randrange(100, 999)}-{rng.randrange(1000, 9999)}"
        )

    regions = [(i, name, f"region {i}") for i, name in enumerate(REGIONS)]
    nation_rows = [(i, name, region, f"nation {i}") for i, (name, region) in enumerate(NATIONS.items())]
    suppliers = [
        (
            i,
            f"Supplier#{i:09d}",
            f"{i} Mill Lane",
            i % len(nations),
            phone(),
            _money(rng.uniform(-999, 9999)),
            f"{pick(REMARKS)} {i}",
        )
        for i in range(1, SUPPLIERS + 1)
    ]
    customers = [
        (
            i,
            f"Customer#{i:09d}",
            f"{i} High Street",
            rng.randrange(len(nations)),
            phone(),
            _money(rng.uniform(-999, 9999)),
            pick(SEGMENTS),
            f"{pick(REMARKS)} {i}",
        )
        for i in range(1, CUSTOMERS + 1)
    ]
    parts = [
        (
            i,
            f"{pick(COLOURS)} {pick(COLOURS)} {i}",
            f"Manufacturer#{i % 5 + 1}",
            f"Brand#{pick((12, 23, 34, 45))}",
            pick(TYPES),
            pick((1, 3, 5, 9, 14, 15, 19, 23, 36, 45, 49)),
            pick(CONTAINERS),
            _money(900 + i),
            f"part {i}",
        )
        for i in range(1, PARTS + 1)
    ]
    offers = [
        (
            part,
            (part + shift * 7) % SUPPLIERS + 1,
            rng.randrange(1, 9999),
            _money(rng.uniform(1, 1000)),
            f"offer {part}",
        )
        for part in range(1, PARTS + 1)
        for shift in range(3)
    ]
    orders: list[tuple[Any, ...]] = []
    lines: list[tuple[Any, ...]] = []
    for key in range(1, ORDERS + 1):
        ordered = date(1992, 1, 1) + timedelta(days=rng.randrange(2400))
        # A third of the customers never orders.
        customer = rng.randrange(CUSTOMERS // 3) * 3 + pick((1, 2))
        total = 0.0
        for number in range(1, pick((1, 2, 3, 4, 7)) + 1):
            part, supplier, *_ = pick(offers)
            quantity = rng.randrange(1, 51)
            price = quantity * (900 + part) / 10
            shipped = ordered + timedelta(days=rng.randrange(1, 120))
            committed = ordered + timedelta(days=rng.randrange(30, 90))
            received = shipped + timedelta(days=rng.randrange(1, 30))
            flag = pick("AR") if received < date(1995, 6, 17) else "N"
            total += price
            lines.append(
                (
                    key,
                    part,
                    supplier,
                    number,
                    Decimal(quantity),
                    _money(price),
                    _money(rng.randrange(11) / 100),
                    _money(rng.randrange(9) / 100),
                    flag,
                    "F" if shipped < date(1995, 6, 17) else "O",
                    shipped,
                    committed,
                    received,
                    pick(INSTRUCTIONS),
                    pick(MODES),
                    f"line {key}.{number}",
                )
            )
        status = pick("FFOP")
        clerk = f"Clerk#{key % 7:09d}"
        orders.append(
            (key, customer, status, _money(total), ordered, pick(PRIORITIES), clerk, 0, f"{pick(REMARKS)} {key}")
        )
    return {
        "region": _table("r", "regionkey name comment", regions),
        "nation": _table("n", "nationkey name regionkey comment", nation_rows),
        "supplier": _table("s", "suppkey name address nationkey phone acctbal comment", suppliers),
        "customer": _table("c", "custkey name address nationkey phone acctbal mktsegment comment", customers),
        "part": _table("p", "partkey name mfgr brand type size container retailprice comment", parts),
        "partsupp": _table("ps", "partkey suppkey availqty supplycost comment", offers),
        "orders": _table(
            "o", "orderkey custkey orderstatus totalprice orderdate orderpriority clerk shippriority comment", orders
        ),
        "lineitem": _table(
            "l",
            "orderkey partkey suppkey linenumber quantity extendedprice discount tax returnflag linestatus shipdate "
            "commitdate receiptdate shipinstruct shipmode comment",
            lines,
        ),
    }


def _table(prefix: str, names: str, rows: list[tuple[Any, ...]]) -> pa.Table:
    arrays = []
    for name, column in zip(names.split(), zip(*rows, strict=True), strict=True):
        money = isinstance(column[0], Decimal)
        arrays.append(pa.array(column, _MONEY if money else _KEY if name.endswith("key") else None))
    return pa.table(arrays, names=[f"{prefix}_{name}" for name in names.split()])


@pytest.fixture(scope="session")
def tpch_tables() -> dict[str, pa.Table]:
    """The eight tables by name."""
    return tables()


@pytest.fixture
def tpch(beside: Beside, tpch_tables: dict[str, pa.Table]) -> Beside:
    """The eight tables on the engine and in plain DuckDB."""
    for name, rows in tpch_tables.items():
        beside.load(name, **{column: rows[column] for column in rows.column_names})
    return beside
