"""Random statements of DuckDB's SQL with `ai_query` in them, each from a number alone. The words: duckdb_words.py.

Rows of a statement do not depend on the order of evaluation: LIMIT and windows have an order of all rows, aggregates
that depend on an order have one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from tests.conformance.duckdb_words import WORDS, templates

FORMS = {
    "from": templates(r"""
    t ;; t ;; t AS x ;; t x ;; seen AS x ;; main.t AS x ;; (FROM t) AS x ;; query('FROM t') AS x ;;
    (SELECT * FROM t WHERE {cond}) AS x ;; (WITH c AS {kept} (SELECT *, {call} AS extra FROM t) FROM c) AS x ;;
    (SELECT *, {call} AS extra FROM t WHERE {cond} ORDER BY id LIMIT 5) AS x ;; (t) AS x ;;
    t AS x SEMI JOIN o AS y ON x.id = y.k ;; t AS x ANTI JOIN o AS y ON y.s = x.s
    """),
    "join": templates(r"""
    t AS x JOIN o AS y ON {on} ;; t x LEFT JOIN o y ON {on} ;; t AS x RIGHT OUTER JOIN o AS y ON {on} ;;
    t AS x FULL JOIN o AS y ON x.id = y.k ;; t AS x, o AS y ;; t AS x CROSS JOIN (FROM o WHERE id < 3) AS y ;;
    t AS x POSITIONAL JOIN o AS y ;; t AS x ASOF LEFT JOIN o AS y ON x."year" = y."year" AND x.ts >= y.ts ;;
    t AS x JOIN o AS y USING (id) ;; t AS x INNER JOIN (SELECT * REPLACE ({call} AS s) FROM o AS x) AS y ON {on} ;;
    t AS x, LATERAL (SELECT q.* REPLACE (ai_query('chat', x.s) AS s) FROM o AS q WHERE q.id = x.k) AS y
    """),
    "item": templates(r"""
    {call} ;; {call} ;; {call} AS {name} ;; {call} AS {name} ;; {any} ;; {any} AS {name} ;; {a}id ;; {a}s ;; {text} ;;
    {num} ;; {any} {name} ;; label: {any} ;; {call} AS "select" ;; {star}.* ;; {star}.* EXCLUDE (j, un) ;;
    {star}.* REPLACE ({call} AS s) ;; {a}"year" ;; COLUMNS('^(id|k)$') ;; {a}value AS month ;; {window} ;;
    {cond} AS "order" ;; st.* ;; * EXCLUDE (s) ;; {num} AS "Group" ;; {star}.* RENAME (s AS text) ;; {any} AS "a.b"
    """),
    "wide": templates(r"""
    SELECT {items} FROM {source}{where} {win} {order} ;; SELECT {items} FROM {source}{where} {win} {order} ;;
    FROM {source} SELECT {items}{where} {win} {order}
    """),
    "pair": templates(r"""
    SELECT {a}id AS x, {text} AS y FROM {source}{where} ;; SELECT {a}id AS x, {text} AS y FROM {source}{where} ;;
    SELECT {a}k AS x, {call} AS y FROM {source}{where} ;; SELECT DISTINCT {a}k AS x, {call} AS y FROM {source}{where} ;;
    SELECT {key} AS x, max({call}) AS y FROM {source}{where} GROUP BY {key} ;;
    SELECT {a}id AS x, {call} AS y FROM {source}{where} ORDER BY {ids} LIMIT 4
    """),
    "combined": templates(r"""
    ({pair}) {set} ({pair}) ;; ({pair}) {set} ({pair}) ORDER BY x NULLS LAST, y LIMIT 4 ;;
    WITH c AS {kept} ({pair}) SELECT m.x, n.y FROM c AS m JOIN c AS n ON m.x = n.x ;;
    WITH c AS {kept} ({pair}), e AS ({pair}) SELECT c.x, ai_query('chat', c.y) AS a FROM c SEMI JOIN e USING (x) ;;
    WITH c(p, q) AS {kept} ({pair}) FROM c WHERE q IS NOT NULL ;;
    SELECT x, y, ai_query('chat', y) AS z FROM ({pair}) AS s WHERE x IS NOT NULL ;;
    SELECT y FROM ({pair}) AS s WHERE ai_query('chat', y) <> 'no' AND x < 3 ;;
    SELECT y, count(*) FROM ({pair}) GROUP BY y HAVING count(*) > 1 OR y = 'yes' ;;
    SELECT y, count(*) AS n FROM ({pair}) GROUP BY ALL ORDER BY ALL LIMIT 3 ;;
    FROM ({pair}) SELECT DISTINCT ON (y) y, x ORDER BY y, x NULLS LAST ;;
    SELECT * FROM ({pair}) AS s (a, b) ORDER BY ALL ;;
    SELECT x, (SELECT max(y) FROM ({pair}) AS u WHERE u.x = s.x) AS y FROM ({pair}) AS s ;;
    SELECT * FROM ({pair}) AS s WHERE y IN (SELECT y FROM ({pair}) AS u) ;;
    SELECT x, y FROM ({pair}) AS s WHERE EXISTS (SELECT 1 FROM ({pair}) AS u WHERE u.y = s.y AND u.x > s.x) ;;
    PIVOT ({pair}) ON y USING count(*) GROUP BY x ;;
    PIVOT (SELECT y FROM ({pair})) ON y IN ('yes', 'no') USING count(*) AS n ;;
    FROM ({pair}) PIVOT (count(*) FOR y IN ('yes', 'no', 'red') GROUP BY x) ;;
    SELECT * FROM (PIVOT ({pair}) ON y USING max(x)) ;; WITH c AS ({pair}) PIVOT c ON y USING count(x) GROUP BY x ;;
    SELECT ai_query('chat', s) FROM (PIVOT (SELECT s, k, id FROM t) ON k USING max(id)) ;;
    UNPIVOT (SELECT x, y, upper(y) AS z FROM ({pair})) ON y, z INTO NAME n VALUE v ;;
    UNPIVOT (SELECT x, y, upper(y) AS z FROM ({pair})) ON COLUMNS(* EXCLUDE (x)) INTO NAME n VALUE v ;;
    SELECT n, v FROM ({pair}) UNPIVOT INCLUDE NULLS (v FOR n IN (y)) ;;
    SELECT x, y, r.g FROM ({pair}) AS s, range(2) AS r(g) WHERE r.g = 1 ;;
    SELECT list(y ORDER BY x, y), count(*) FROM ({pair}) ;;
    SELECT x, y FROM ({pair}) QUALIFY row_number() OVER (PARTITION BY y ORDER BY x NULLS LAST) = 1 AND x > 1 ;;
    SELECT unnest([y, 'more']) AS e, x FROM ({pair}) ;; VALUES ((SELECT max(y) FROM ({pair})), ai_query('chat', 'v')) ;;
    SELECT s.x, l.z FROM ({pair}) AS s, LATERAL (SELECT ai_query('chat', s.y) AS z) AS l ;;
    SELECT * FROM ({pair}) AS s NATURAL JOIN ({pair}) AS u ;; FROM {source} WHERE {call} = 'yes'
    """),
    "special": templates(r"""
    SELECT {call} AS r, {num} AS n FROM {source} WHERE r = 'yes' OR n > 2 ;;
    SELECT {ids}, {text} AS q, ai_query('chat', q) AS r, upper(r) AS z FROM {source}{where} ;;
    SELECT {call} AS r, count(*) FROM {source}{where} GROUP BY r ;;
    SELECT {call} AS r, {agg} FROM {source}{where} GROUP BY 1 ;;
    SELECT {call} AS r, {agg}, {agg} AS a FROM {source}{where} GROUP BY ALL ;;
    SELECT {agg}, {agg}, max({call}) FROM {source}{where} ;;
    SELECT {agg}, max({call}) FILTER (WHERE {cond}) FROM {source} ;;
    SELECT {key}, {agg} AS a FROM {source}{where} GROUP BY {key} HAVING ai_query('chat', max({a}s)) <> 'no' ;;
    SELECT {key}, {star}."year", {agg} AS a, max({call}) FROM {source} GROUP BY ROLLUP ({key}, {star}."year") ;;
    SELECT {key}, max({call}) FROM {source} GROUP BY GROUPING SETS (({key}), ()) ;;
    SELECT {window} AS v, {call} AS r FROM {source}{where} WINDOW win AS (PARTITION BY {a}k ORDER BY {ids}) ;;
    SELECT {call} AS r FROM {source} QUALIFY row_number() OVER (PARTITION BY {a}k ORDER BY {ids}) = 1 ;;
    SELECT {call} AS r, {ids} FROM {source} ORDER BY #2 DESC LIMIT 3 ;;
    SELECT {ids}, {call} FROM {source} ORDER BY 1 DESC LIMIT 3 ;;
    SELECT {call} AS r, {ids} FROM {source} ORDER BY r, 2 LIMIT 3 ;;
    SELECT ai_query('chat', 's') AS lit, ai_query('chat', s) AS col, ai_query('chat', "s") AS q FROM t ;;
    SELECT ai_query('chat', '1') AS a, ai_query('chat', 1::VARCHAR) AS b, ai_query('chat', s[1]) AS c FROM {source} ;;
    SELECT ai_query('chat', 'a''b') AS a, ai_query('chat', $$a'b$$) AS b, ai_query('chat', 'A''b') FROM {source} ;;
    SELECT ai_query('chat', 's') || ai_query('chat', s) FROM t
    WHERE ai_query('chat', "order") <> ai_query('chat', 'order') ;;
    SELECT ai_query('chat', COLUMNS('^s$')) FROM {source}{where} ;;
    SELECT upper(ai_query('chat', {a}s)), {call} || '' FROM {source} ;;
    SELECT * EXCLUDE (j, un, m), {call} AS r FROM {source}{where} ORDER BY {ids} LIMIT 4 ;;
    SELECT * REPLACE ({text} AS s), {call} FROM {source}{where} ;;
    SELECT COLUMNS(lambda c: c IN ('id', 's')), {call} FROM {source} ;;
    SELECT CASE WHEN {cond} THEN {call} WHEN {cond} THEN {call} ELSE {text} END AS r FROM {source} ;;
    SELECT coalesce({a}s, {call}, {call}), {call} FROM {source}{where} ;;
    SELECT {cond} AND {call} = 'yes' OR {cond} FROM {source} ;;
    SELECT [ai_query('chat', e) FOR e IN {a}ls] AS r FROM {source} ;;
    SELECT list_transform({a}ls, lambda e: ai_query('chat', e)) AS r FROM {source} ;;
    SELECT {{'a': {call}, 'b': {any}}} AS st, [{call}] AS li FROM {source} ;;
    SELECT struct_pack(k := {call}, v := {num}), row({call}, 1) FROM {source} ;;
    SELECT k, string_agg({call}, '' ORDER BY {ids}) FILTER (WHERE {cond}) AS r FROM {source} GROUP BY k ;;
    SELECT {call} AS "Ünï", {a}"Größe" FROM {source} WHERE {a}"Größe" > 7 ;;
    SELECT ({call}).upper().lower() FROM {source} ;;
    SELECT {call}, {num}, FROM {source} ;; SELECT DISTINCT {call} FROM {source}{where} ;;
    SELECT {call} FROM {source} WHERE false ;;
    SELECT DISTINCT ON ({a}k) {a}k, {call} FROM {source}{where} ORDER BY {a}k, {ids} ;;
    WITH RECURSIVE r AS (SELECT 1 AS n, ai_query('chat', 'start') AS a UNION ALL SELECT n + 1, a || n FROM r
    WHERE n < 3) SELECT n, a, ai_query('chat', a) AS b FROM r ;;
    WITH RECURSIVE r AS (SELECT id, s FROM t WHERE id < 2 UNION ALL SELECT id + 4, s FROM r WHERE id < 2)
    SELECT r.id, ai_query('chat', r.s || x.s) AS a FROM r JOIN t AS x ON r.id = x.id ;;
    SELECT {text} AS x, {call} FROM {source} WHERE {cond} LIMIT 0 ;;
    SELECT count(*) FROM {source} WHERE {cond} AND {call} <> 'no' ;;
    SELECT sum({a}id) FILTER (WHERE {call} = 'yes'), {agg} FROM {source} ;;
    SELECT ai_query('chat', 'lonely') AS r, 1 AS n ;;
    SELECT ai_query('chat', NULL) AS r, ai_query('chat', x) AS y FROM (VALUES ('a'), (NULL), ('b')) AS v(x) ;;
    SELECT ai_query('chat', ai_query) AS "ai_query", ai_query FROM (SELECT s AS ai_query, * FROM t) ;;
    SELECT {star}, {call} FROM {source}
    """),
    "insert": templates(r"""
    INSERT INTO w SELECT {number}, 1, {text}, {call}, {num}::DOUBLE FROM {source}{where}{returning} ;;
    INSERT INTO w (s, id) SELECT {call}, {number} FROM {source}{where}{returning} ;;
    INSERT INTO w BY NAME SELECT {call} AS s, {number} AS id FROM {source}{where}{returning} ;;
    INSERT INTO w (id, s) VALUES (6, ai_query('chat', 'a')), (7, ai_query('chat', ai_query('chat', 'b'))){returning} ;;
    INSERT INTO w (id, s, "order") VALUES (60, ai_query('chat', 'a'), DEFAULT){returning} ;;
    INSERT INTO w SELECT id, k, ai_query('chat', s), 'x', 1 FROM o ON CONFLICT DO NOTHING ;;
    INSERT INTO w SELECT id, k, ai_query('chat', s), "order", .5 FROM o ON CONFLICT (id) DO UPDATE SET s = excluded.s ;;
    INSERT OR REPLACE INTO w (id, s) SELECT id, ai_query('chat', s) FROM o ;;
    INSERT OR IGNORE INTO w (id, s) SELECT id, ai_query('chat', s) FROM o ;;
    WITH c AS (SELECT {a}id AS n, {call} AS a FROM {source}) INSERT INTO w (id, s)
    SELECT n + 70, max(a) FROM c WHERE n IS NOT NULL GROUP BY n ;;
    CREATE TABLE made AS SELECT {items} FROM {source}{where} {win} ;;
    CREATE TABLE made AS SELECT {items} FROM {source} {win} ;;
    CREATE OR REPLACE TABLE made AS SELECT {a}id AS n, {call} AS a, {any} FROM {source}{where} ;;
    CREATE TABLE made (n, a) AS SELECT {a}id, {call} FROM {source}{where} ;;
    CREATE TABLE IF NOT EXISTS made AS SELECT {call} AS a FROM {source}{where} ;;
    CREATE TABLE made AS ({pair}) UNION ALL ({pair}) ;; CREATE TABLE made AS {combined} ;;
    CREATE TABLE made AS {special} ;;
    COPY ({pair}) TO 'copied.csv' ;; COPY ({combined}) TO 'copied.csv' (FORMAT csv, DELIMITER '|') ;;
    COPY (SELECT {call}, {num}, {text} FROM {source}{where}) TO 'copied.csv' (HEADER)
    """),
    "change": templates(r"""
    UPDATE w SET s = {of_w} WHERE {where_w}{returning} ;; UPDATE w SET s = {of_w}, k = length({of_w}), value = .5 ;;
    UPDATE w AS g SET s = ai_query('chat', g.s), "order" = g.k::TEXT WHERE g.id > 1 ;;
    UPDATE w SET s = q.a FROM (SELECT id, ai_query('chat', s) AS a FROM o) AS q WHERE q.id = w.id ;;
    UPDATE w SET s = ai_query('chat', o.s || w.s) FROM o WHERE o.id = w.id AND ai_query('chat', w.s) <> 'no' ;;
    UPDATE w SET s = (SELECT max(ai_query('chat', o.s)) FROM o WHERE o.k = w.k) ;;
    DELETE FROM w WHERE {where_w}{returning} ;;
    DELETE FROM w WHERE ai_query('chat', s) <> 'x' AND (SELECT j ->> 'user.id' FROM t WHERE t.id = w.id) IS NULL ;;
    DELETE FROM w USING o WHERE o.id = w.id AND ai_query('chat', o.s || w.s) = 'yes' ;;
    DELETE FROM w WHERE id IN (SELECT id FROM t WHERE ai_query('chat', s) IN ('yes', 'no') AND j ->> {path} <> '') ;;
    MERGE INTO w USING (SELECT id, s FROM o) AS q ON w.id = q.id WHEN MATCHED THEN UPDATE SET s = ai_query('chat', q.s)
    ;;
    MERGE INTO w USING o AS q ON w.id = q.id WHEN MATCHED AND ai_query('chat', q.s) = 'yes' THEN DELETE
    WHEN NOT MATCHED THEN INSERT (id, s) VALUES (q.id, ai_query('chat', q.s)) ;;
    MERGE INTO w USING (SELECT id + 3 AS id, ai_query('chat', s) AS a FROM o) AS q USING (id)
    WHEN MATCHED THEN UPDATE SET s = q.a WHEN NOT MATCHED THEN INSERT (id, s) VALUES (q.id, q.a)
    """),
    "of_w": templates(
        "ai_query('chat', s) ;; ai_query('chat', w.s || \"order\") ;; coalesce(s, ai_query('chat', id::TEXT))"
    ),
    "where_w": templates(r"""
    ai_query('chat', s) = 'yes' ;; ai_query('chat', s) <> 'no' AND id > 1 ;; id % 2 = 0 OR ai_query('chat', s) > 'r' ;;
    s IS NOT NULL AND ai_query('chat', s) <> 'no' ;; ai_query('chat', 'w ' || id) IN ('yes', 'no') AND s ^@ 'a'
    """),
    "kept": ["", "MATERIALIZED", "NOT MATERIALIZED"],
    "set": templates("UNION ;; UNION ALL ;; EXCEPT ;; INTERSECT ;; EXCEPT ALL ;; UNION BY NAME ;; UNION ALL BY NAME"),
    "on": templates("x.id = y.id ;; x.k = y.k ;; x.id = y.id AND x.s <> '' ;; x.k = y.k AND y.id > 1"),
    "first": [
        "",
        *templates("{num} DESC, ;; {text} NULLS FIRST, ;; {a}s COLLATE NOCASE, ;; {a}k, ;; {call}, ;; {a}c,"),
    ],
    "limit": [
        "",
        *templates("LIMIT 3 ;; LIMIT 2 OFFSET 1 ;; LIMIT 1 + 1 ;; LIMIT 30% ;; OFFSET 2 ;; LIMIT 0 ;; LIMIT 3"),
    ],
    "returning": ["", "", " RETURNING id, s", " RETURNING *", ' RETURNING upper(s) AS "S", id + 1'],
    "number": ["row_number() OVER (ORDER BY {ids}) + 50"],
}
"""Templates of statements and their clauses. A number in front of a column list of `w` is new for each row."""

_PART = re.compile(r"\{\{|\}\}|\{(\w+)\}")
_QUOTED_OR_SPACE = re.compile(
    r"\$(\w*)\$.*?\$\1\$|[eE]'(?:\\.|''|[^'\\])*'|'(?:''|[^'])*'|\"(?:\"\"|[^\"])*\"| ", re.DOTALL
)
_COMMENTS = (" /* it's */ ", " /* ai_query('chat', 'no') */ ", '\n-- "quoted\n', "\n", "\t ", " /* a -- b\n */ ")
_LEAVES = {
    kind: [word for word in words if set(_PART.findall(word)) <= {"a", "lit", "path", ""}] or words
    for kind, words in WORDS.items()
}


class Statement(NamedTuple):
    """A statement. `ordered`: its rows have an order. `writes`: it changes `w`, or creates `made` or `copied.csv`."""

    sql: str
    ordered: bool
    writes: bool


class Source(NamedTuple):
    """What stands behind FROM, the qualifiers of what has all columns, and the columns that number its rows."""

    sql: str
    qualifiers: Sequence[str]
    ids: str


class Writer:
    """Writes the statement of one number."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self._source = Source("t", ("",), "id")
        self._names = 0

    def statement(self) -> str:
        """A statement of any kind, over a source of its own."""
        self._choose_source()
        return self.fill(
            self.random.choice(FORMS[self.random.choice(["wide", "wide", "combined", "special", "insert", "change"])])
        )

    def fill(self, template: str, depth: int = 3) -> str:
        """A template with expressions in it."""
        return _PART.sub(lambda m: self._word(m[1], depth) if m[1] else m[0][0], template)

    def _word(self, kind: str, depth: int) -> str:
        if kind == "a":
            return self.random.choice(self._source.qualifiers)
        if kind == "ids":
            return self._source.ids
        if kind == "key":
            return f"{self._source.qualifiers[-1]}k"
        if kind == "source":
            return self._source.sql
        if kind == "star":
            return self._source.qualifiers[-1].rstrip(".")
        if kind in ("where", "order", "items", "name"):
            return str(getattr(self, f"_{kind}")())
        if kind == "win":  # a window that is not used is none
            return self.fill("WINDOW win AS (PARTITION BY {a}k ORDER BY {ids})")
        if kind in ("pair", "combined", "special"):
            return self._inner(kind)
        if kind in FORMS:
            return self.fill(self.random.choice(FORMS[kind]), depth - 1)
        return self.fill(self.random.choice(WORDS[kind] if depth > 0 else _LEAVES[kind]), depth - 1)

    def _inner(self, kind: str) -> str:
        """A SELECT within the statement, with a source of its own."""
        outer = self._source
        self._choose_source()
        made = self.fill(self.random.choice(FORMS[kind]), 2)
        self._source = outer
        return made

    def _choose_source(self) -> None:
        self._source = Source("t", ("q.",), "q.id")  # for calls within the source itself, which do not see it
        if self.random.random() < 0.65:
            self._source = Source("", ("",), "id")
            sql = self.fill(self.random.choice(FORMS["from"]), 1)
            name = "t" if sql == "t" else "x"
            self._source = Source(
                sql, (f"{name}.",) if "SEMI" in sql or "ANTI" in sql else ("", f"{name}."), f"{name}.id"
            )
        else:
            self._source = Source("", ("",), "id")
            sql = self.fill(self.random.choice(FORMS["join"]), 1)
            self._source = Source(sql, ("y.", "x."), "x.id, y.id")

    def _where(self) -> str:
        return self.fill(" WHERE {cond}") if self.random.random() < 0.5 else ""

    def _order(self) -> str:
        """An ORDER BY of all rows, mostly with a LIMIT."""
        return self.fill("ORDER BY {first} {ids} {limit}", 1) if self.random.random() < 0.6 else ""

    def _items(self) -> str:
        """A SELECT list with a call in it."""
        items = [self.fill(self.random.choice(FORMS["item"])) for _ in range(self.random.randint(1, 4))]
        if not any("ai_query" in item.lower() for item in items):
            items.append(self.fill("{call}"))
        self.random.shuffle(items)
        return ", ".join(items)

    def _name(self) -> str:
        """A name for a column, sometimes one that has to be quoted."""
        self._names += 1
        shape = self.random.choice(["r{}", '"Name {}"', '"größe.{}"', "Mixed{}", '"it\'s {}"'])
        return shape.format(self._names)


def statement(seed: int) -> Statement:
    """The statement of a number, always the same."""
    writer = Writer(seed)
    sql = writer.statement()
    while "ai_query" not in sql.lower():
        sql = writer.statement()
    writes = sql.startswith(("INSERT", "CREATE", "UPDATE", "DELETE", "MERGE", "COPY")) or "INSERT INTO w" in sql
    ordered = not writes and "ORDER BY" in sql.rpartition(")")[2]
    if writer.random.random() < 0.3:
        sql = _with_comments(sql, writer.random)
    if writer.random.random() < 0.06:
        sql = _broken(sql, writer.random)
    return Statement(sql, ordered, writes)


def _with_comments(sql: str, random: Random) -> str:
    """The statement with comments and line ends in it, which mean nothing."""

    def space(found: re.Match[str]) -> str:
        return random.choice(_COMMENTS) if found[0] == " " and random.random() < 0.1 else found[0]

    return _QUOTED_OR_SPACE.sub(space, sql)


def _broken(sql: str, random: Random) -> str:
    """The statement with a mistake in it."""
    pattern, wrong = random.choice(
        [
            (r"\bs\b", "nope"),
            (r"\b[tow]\b", "nope"),
            (r"upper|coalesce|max|length|ids", "nope"),
            (r"\)", ""),
            (r" FROM ", " FORM "),
            (r" AS ", " AS AS "),
            (r"$", " ORDER BY nope"),
            (r"id", "nope.id"),
        ]
    )
    return re.sub(pattern, wrong, sql, count=1)
