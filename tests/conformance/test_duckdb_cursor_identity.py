"""A cursor must never ask with the permissions of somebody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

import aiq


def test_a_cursor_asks_as_the_only_user_that_is_registered(conf: Any, home: Path) -> None:
    conf.endpoint("chat", conf.entity("main", "gpt-4o-mini"))
    con = duckdb.connect()
    aiq.register(con, conf=conf.path, home=home, user="ann@example.com")
    assert con.cursor().execute("SELECT ai_query('chat', 'Hello')").fetchall()[0][0]


def test_a_cursor_is_refused_where_two_users_are_registered(conf: Any, home: Path) -> None:
    conf.endpoint("chat", conf.entity("main", "gpt-4o-mini"))
    con = duckdb.connect()
    other = con.cursor()
    aiq.register(con, conf=conf.path, home=home, user="ann@example.com")
    aiq.register(other, conf=conf.path, home=home, user="ben@example.com")
    with pytest.raises(duckdb.Error, match=r"aiq\.register\(cursor"):
        con.cursor().execute("SELECT ai_query('chat', 'Hello')").fetchall()
