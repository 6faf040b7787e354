"""Which names of a statement are those of tables, and where catalogs lead them."""

from __future__ import annotations

import pytest

from aiq.errors import StatementError
from aiq.sql.notebook.names import with_catalogs, with_identifiers, with_use


class Here:
    """Databases `db` (the current one) and `other`."""

    understands_use = False

    def current(self) -> str:
        return "db"

    def known(self, catalog: str) -> bool:
        return catalog in ("db", "other")

    def schema(self, database: str, schema: str) -> str:
        return "main" if schema == "default" else schema


CATALOGS = {"Main": None, "far": "other"}

MOVED = {
    "SELECT * FROM main.s.t": "SELECT * FROM db.s.t",
    "SELECT * FROM far.default.t JOIN db.s.u USING (a)": "SELECT * FROM other.main.t JOIN db.s.u USING (a)",
    "SELECT main.s.t.a, t.main.s FROM main.s.t": "SELECT db.s.t.a, t.main.s FROM db.s.t",
    "SELECT extract(day FROM main.s.t), trim('x' FROM main.s.u) FROM t": None,
    "SELECT * FROM t WHERE a IS DISTINCT FROM main.s.c": None,
    "SELECT (SELECT max(a) FROM main.s.t), main.s.f(1) FROM u, main.s.v": (
        "SELECT (SELECT max(a) FROM db.s.t), db.s.f(1) FROM u, db.s.v"
    ),
    "SELECT 'FROM main.s.t' AS a, main.s.b FROM t AS main": None,
    "INSERT INTO main.s.t (a) SELECT a FROM default.u": "INSERT INTO db.s.t (a) SELECT a FROM db.main.u",
    "MERGE INTO main.s.t USING main.s.u ON t.a = u.a": "MERGE INTO db.s.t USING db.s.u ON t.a = u.a",
    "DROP TABLE IF EXISTS `Main`.`a b`.t": "DROP TABLE IF EXISTS db.`a b`.t",
    "CREATE SCHEMA IF NOT EXISTS main.s": "CREATE SCHEMA IF NOT EXISTS db.s",
    "SELECT * FROM system.aiq.calls": None,
}


@pytest.mark.parametrize(("text", "moved"), MOVED.items())
def test_names_of_tables_follow_the_map(text: str, moved: str | None) -> None:
    assert with_catalogs(text, CATALOGS, Here()) == (moved or text)


def test_a_catalog_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(StatementError, match=r"catalog 'gone'.*catalogs: \{gone: \}"):
        with_catalogs("SELECT * FROM gone.s.t", CATALOGS, Here())


USES = {
    "USE CATALOG main": "USE db.main",
    "use schema s;": "USE db.s",
    "USE DATABASE default": "USE db.main",
    "USE far.s -- now": "USE other.s",
    "SET CATALOG far": "USE other.main",
    "SET x = 1": "SET x = 1",
}


@pytest.mark.parametrize(("text", "said"), USES.items())
def test_use_names_a_database_and_a_schema(text: str, said: str) -> None:
    assert with_use(text, CATALOGS, Here()) == said


def test_an_engine_with_its_own_use_gets_it_where_the_map_has_nothing() -> None:
    there = Here()
    there.understands_use = True
    texts = ["USE s", "USE CATALOG lake", "USE CATALOG far"]
    assert [with_use(text, CATALOGS, there) for text in texts] == ["USE s", "USE CATALOG lake", "USE other.main"]


def test_identifier_of_constant_texts_is_a_name() -> None:
    values = {"who": "bob"}
    text = "SELECT * FROM IDENTIFIER('a.' || who || '.t'), IDENTIFIER(concat('x y', '.u')), `identifier`(z)"
    assert with_identifiers(text, values.__getitem__) == "SELECT * FROM a.bob.t, `x y`.u, `identifier`(z)"
    assert with_identifiers("SELECT IDENTIFIER(lower(c))", values.__getitem__) == "SELECT IDENTIFIER(lower(c))"
