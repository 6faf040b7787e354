"""The words of the fuzzer's grammar: expressions of DuckDB's SQL by type, and the tables they read.

A template's `{text}`, `{num}`, `{int}`, `{cond}`, `{any}`, `{call}`, `{lit}` and `{path}` stand for expressions, `{a}`
for a qualifier of columns (or none), `{ids}` for the columns that number a row. Nearly all expressions are total.
"""

from __future__ import annotations

COLUMNS = (
    *("id INTEGER", "k INTEGER", "s VARCHAR", '"year" INTEGER', '"order" VARCHAR', '"select" BOOLEAN'),
    *("month INTEGER", "value DOUBLE", "part VARCHAR", "ts TIMESTAMP", "d DATE", "tm TIME", "iv INTERVAL", "u UUID"),
    *("h HUGEINT", "c color", "dec DECIMAL(10, 2)", "j JSON", "l INTEGER[]", "ls VARCHAR[]", "b BLOB"),
    *('st STRUCT(a INTEGER, "b.c" VARCHAR)', "m MAP(VARCHAR, INTEGER)", "un UNION(n INTEGER, s VARCHAR)"),
    '"Größe" INTEGER',
)

ROWS = """
SELECT i, CASE WHEN i % 4 > 0 THEN (i + {shift}) % 3 END,
  ['a', 'b''s', 'yes', 'größe 🦆', NULL, '', 's', 'A a'][(i + {shift}) % 8 + 1], 2020 + i % 3,
  ['asc', 'desc', NULL, 'a.b'][i % 4 + 1], i % 2 = 0, i % 12 + 1, i / 4.0,
  ['year', 'month', 'day'][i % 3 + 1], TIMESTAMP '2024-01-01 08:30:00' + INTERVAL (i * 20) DAY,
  DATE '2024-01-30' + (i + {shift})::INTEGER, TIME '06:00:00' + INTERVAL (i) HOUR, INTERVAL (i) HOUR,
  ('00000000-0000-0000-0000-00000000000' || i)::UUID, 170141183460469231731687303715884105000 + i,
  ['red', 'green', 'blue'][i % 3 + 1]::color, i * 1.25,
  '{{"user.id": "' || i || '", "a": [' || i || ', 2, 3], "http": {{"method": "GET"}}, '
    || '"k:v": "x' || i || '", "[0]": 7}}',
  [i, 2, 3][:i % 4], ['x' || i, 'a b', 'größe'][:i % 4], ('b' || i)::BLOB,
  {{'a': i, 'b.c': 'dot ' || i}}, MAP {{'one': i, 'two.three': 2}},
  CASE WHEN i % 2 = 0 THEN union_value(n := i::INTEGER)::UNION(n INTEGER, s VARCHAR)
    ELSE union_value(s := 'tag' || i)::UNION(n INTEGER, s VARCHAR) END, i * 7
FROM range({rows}) AS r(i)
"""

SCHEMA = f"""
CREATE TYPE color AS ENUM ('red', 'green', 'blue');
CREATE TABLE t ({", ".join(COLUMNS)});
CREATE TABLE o ({", ".join(COLUMNS)});
INSERT INTO t {ROWS.format(shift=0, rows=8)};
INSERT INTO o {ROWS.format(shift=3, rows=6)};
CREATE VIEW seen AS FROM t;
CREATE MACRO shout(x) AS upper(x) || '!'
"""
"""`t` and `o` have the same columns and other rows."""

TARGET = """
CREATE OR REPLACE TABLE w (id INTEGER PRIMARY KEY, k INTEGER, s VARCHAR, "order" VARCHAR DEFAULT 'none', value DOUBLE);
INSERT INTO w SELECT id, k, s, "order", value FROM t WHERE id < 6;
DROP TABLE IF EXISTS made
"""
"""What statements write to, made anew for each."""


def templates(text: str) -> list[str]:
    """Templates from a text where `;;` stands between them."""
    return [template.strip() for template in text.split(";;")]


WORDS = {
    "call": templates(r"""
    ai_query('chat', {text}) ;; ai_query('chat', {text}) ;; ai_query('chat', {text}) ;; ai_query('chat', {text}) ;;
    ai_query('chat', {text}) ;; ai_query('chat', ({any})::VARCHAR) ;; ai_query('chat', 'p ' || {num}) ;;
    AI_Query( 'chat' , {text} ) ;; ai_query($$chat$$, {text}) ;; ai_query('chat', concat({lit}, ({any})::VARCHAR)) ;;
    ai_query('chat', {a}"order") ;; ai_query('chat', CAST({any} AS VARCHAR))
    """),
    "lit": templates(r"""
    'a' ;; 'yes' ;; 'b''s' ;; '' ;; 'größe 🦆' ;; $$q'uote$$ ;; $x$ a $$ b $x$ ;; '"s"' ;; 's' ;; 'a -- b' ;;
    '/* c */' ;; 'ai_query(''chat'')' ;; E'tab\tit\'s' ;; '%' ;; '?' ;; '$1' ;; ';' ;; 'x:y' ;; '\d' ;; 'a'
    'b'
    """),
    "path": templates(r"""
    'user.id' ;; '$.user.id' ;; '$."user.id"' ;; 'a' ;; '$.a[0]' ;; '$.a[1]' ;; 'http' ;; '$.http.method' ;;
    'k:v' ;; '[0]' ;; '$."k:v"' ;; '/http/method' ;; '$.a[#-1]' ;; 'a[0]'
    """),
    "int": templates(r"""
    {a}id ;; {a}"year" ;; {a}month ;; 7 ;; 1_000
    """),
    "text": templates(r"""
    {call} ;; {call} ;; {call} ;; {call} ;; {call} ;; {call} ;; {a}s ;; {a}s ;; {a}"order" ;; {a}part ;; {lit} ;;
    {a}c::VARCHAR ;; {a}st."b.c" ;; {a}j ->> {path} ;; ({a}j ->> {path}) ;; json_extract_string({a}j, {path}) ;;
    {a}j->'http'->>'method' ;; {text} || {text} ;; upper({text}) ;; coalesce({text}, {lit}) ;;
    CASE WHEN {cond} THEN {text} ELSE {text} END ;; {any}::VARCHAR ;; CAST({any} AS VARCHAR) ;;
    concat({text}, {num}) ;; format('{{}} is {{:d}}', {text}, {int}) ;; shout({text}) ;;
    printf('%s/%d', {text}, {int}) ;; ({text})[1:2] ;; ({text})[-2:] ;; ({text})[1] ;; substr({text}, 2) ;;
    substring({text} FROM 1 FOR 2) ;; trim(BOTH 'a' FROM {text}) ;; trim({text}) ;; left({text}, 2) ;;
    array_to_string(list_transform({a}l, lambda e: e + 1), ',') ;; strftime({a}ts, '%Y-%m %-d') ;;
    array_to_string([e + 1 FOR e IN {a}l IF e > 1], '-') ;; dayname({a}ts) ;; {a}st['b.c'] ;; {a}ls[1] ;;
    struct_extract({a}st, 'b.c') ;; {a}un.s ;; union_extract({a}un, 's') ;; union_tag({a}un)::VARCHAR ;;
    regexp_replace({text}, '[aeiou]', '_', 'g') ;; regexp_extract({text}, '([a-z])(.)', 2) ;; md5({text}) ;;
    typeof({any}) ;; string_split({text}, ' ')[1] ;; ({text}).upper() ;; nullif({text}, {lit}) ;; {a}m::VARCHAR ;;
    if({cond}, {text}, {lit}) ;; ifnull({text}, {lit}) ;; greatest({text}, {lit}) ;; hex({a}b) ;; {a}u::TEXT ;;
    CASE {a}k WHEN 1 THEN {text} WHEN 2 THEN 'two' END ;; list_aggr({a}ls, 'string_agg', '+') ;; ({text}) ;;
    (SELECT max(z.s) FROM o AS z WHERE z.k = {a}k) ;; (SELECT ai_query('chat', max(z.s)) FROM o AS z) ;;
    (SELECT min(ai_query('chat', z.s)) FROM o AS z WHERE z.id < {a}id) ;; alias({a}k) ;; {text}::VARCHAR(20) ;;
    array_to_string(list_transform({a}ls, lambda e, n: e || n), '') ;; replace({text}, 'a', '$1') ;; {a}s::text
    """),
    "num": templates(r"""
    {a}id ;; {a}id ;; {a}k ;; {a}"year" ;; {a}month ;; {a}value ;; {a}"Größe" ;; 1 ;; .5 ;; 1e5 ;; 1_000 ;; 0x1F ;;
    1. ;; 1.50 ;; -{num} ;; ({num} + {num}) ;; {num} - 1 ;; {int} // 2 ;; {int} % 3 ;; {a}id ** 2 ;; {a}id ^ 2 ;;
    abs({num}) ;; @ {a}k ;; length({text}) ;; extract(year FROM {a}ts) ;; extract('month' FROM {a}d) ;; {a}dec ;;
    date_part({a}part, {a}ts) ;; date_part('month', {a}ts) ;; year({a}ts) ;; month({a}d) ;; {a}l[1] ;; {a}l[-1] ;;
    datediff('day', {a}d, DATE '2024-03-01') ;; date_diff({a}part, {a}ts, TIMESTAMP '2025-01-01') ;; {a}st.a ;;
    len({a}l[1:2]) ;; ({a}j -> '$.a[0]')::INTEGER ;; ({a}j->'a'->>1)::INTEGER ;; json_array_length({a}j, '$.a') ;;
    {int} & 3 ;; {int} | 4 ;; {int} << 1 ;; xor({int}, 3) ;; ~{int} ;; list_sum({a}l) ;; round({num}, 1) ;; 3! ;;
    coalesce({num}, 0) ;; position('a' IN {text}) ;; CASE {a}k WHEN 1 THEN 10 ELSE {num} END ;; {num}::DOUBLE ;;
    TRY_CAST({text} AS INTEGER) ;; try_cast({text} AS DOUBLE) ;; {a}m['one'] ;; {a}un.n ;; epoch({a}ts) ;; {a}h ;;
    (SELECT count(*) FROM o AS z WHERE z.k = {a}k) ;; list_reduce([1] || {a}l, lambda p, q: p + q) ;; 1e-3 ;; +1 ;;
    [1.0, {a}id]::FLOAT[2] <=> [1, 2]::FLOAT[2] ;; [1.0, {a}id]::FLOAT[2] <-> [1, 2]::FLOAT[2]
    """),
    "any": templates(r"""
    {text} ;; {text} ;; {num} ;; {num} ;; {cond} ;; {a}d ;; {a}tm ;; {a}iv ;; {a}u ;; {a}h ;; {a}c ;; {a}l ;;
    {a}st ;; {a}m ;; {a}un ;; {a}j ;; {a}b ;; {a}dec ;; {a}ls ;; struct_pack(k := {num}, "my key" := {text}) ;;
    struct_pack(k => {a}id) ;; {{'a': {num}, 'b c': {text}}} ;; [{text}, {text}] ;; {a}ls[1:2] ;; {a}l[:2] ;;
    {a}ls[2:] ;; {a}l[1:3:2] ;; row({num}, {text}) ;; map(['a'], [{num}]) ;; MAP {{'a': {num}}} ;; NULL ;; true ;;
    date_trunc({a}part, {a}ts) ;; date_trunc('month', {a}ts) ;; {a}ts + INTERVAL 1 DAY ;; {a}d + 3 ;;
    {a}ts::DATE ;; {a}ts + INTERVAL '2 months' ;; {a}d - DATE '2024-01-01' ;; DATE '2020-01-01' ;;
    TIMESTAMP '2020-01-01 10:00' ;; {a}ts - {a}iv ;; TIME '10:00:00' ;; list_filter({a}l, lambda e: e > 1) ;;
    [upper(e) FOR e IN {a}ls] ;; {a}d::TEXT ;; {a}j -> {path} ;; {a}j->'$.a[0]' ;; {a}j.a ;;
    json_extract({a}j, {path}) ;; {num}::DECIMAL(22, 3) ;; {num}::FLOAT ;; union_value(z := {num}) ;;
    make_date(2024, 1, {a}month) ;; time_bucket(INTERVAL '1 week', {a}d) ;; {a}l || [9] ;;
    list_sort({a}ls, 'DESC') ;; {int}::HUGEINT ;; {a}ts::TIMESTAMPTZ IS NULL ;; interval (id) day ;;
    [1, 2, 3]::DOUBLE[3] ;; {{'k': [{{'x': {num}}}]}} ;; '12:30'::TIME ;; {a}st::JSON ;;
    json_object('k', {num})
    """),
    "cond": templates(r"""
    {call} = 'yes' ;; {call} <> 'no' ;; {call} IN ('red', 'blue') ;; {call} LIKE '%e%' ;; {call} IS NOT NULL ;;
    {num} > {num} ;; {num} <= 3 ;; {num} <> {num} ;; {a}k != 2 ;; {a}k == 1 ;; {text} = {lit} ;;
    {text} LIKE '%a%' ;; {text} NOT LIKE 'b_' ;; {text} ILIKE 'A%' ;; {text} ~~ '%e%' ;; {text} !~~* 'A%' ;;
    {text} ~~* '%S' ;; {text} ~ '[a-c].*' ;; {text} !~ '^a' ;; {text} ^@ 'a' ;; {text} GLOB '*a*' ;;
    {text} ~~~ 'a*' ;; {text} SIMILAR TO '(a|b).*' ;; {text} NOT SIMILAR TO 'a.*' ;; {a}s IS NULL ;; {a}k ISNULL ;;
    {a}k NOTNULL ;; {text} IS DISTINCT FROM {lit} ;; {text} IS NOT DISTINCT FROM {lit} ;; {num} BETWEEN 1 AND 3 ;;
    {num} IN (1, 2) ;; {a}k NOT IN (1, 2) ;; {text} IN ({lit}, {lit}) ;; {a}"select" ;; NOT {a}"select" ;;
    {a}"select" IS TRUE ;; ({cond} AND {cond}) ;; ({cond} OR {cond}) ;; NOT ({cond}) ;; {a}c = 'red' ;;
    {a}c > 'red' ;; {a}l @> [2] ;; list_contains({a}l, 2) ;; {a}l && [2] ;; starts_with({text}, 'a') ;;
    {a}j ->> 'user.id' = '1' ;; ({a}j ->> 'user.id') IS NULL ;; {a}ts > TIMESTAMP '2024-02-01' ;;
    {a}tm < TIME '12:00' ;; {a}iv > INTERVAL 3 HOUR ;; {num} = ANY([1, 2]) ;;
    {a}id >= ALL (SELECT z.k FROM o AS z WHERE z.k NOTNULL) ;; {text} LIKE 'a#%' ESCAPE '#' ;;
    {text} COLLATE NOCASE = 'A a' ;; EXISTS (FROM o AS z WHERE z.k = {a}k) ;; {a}k IN (SELECT z.k FROM o AS z) ;;
    {a}k NOT IN (SELECT z.id FROM o AS z) ;; regexp_matches({text}, 'a') ;; ({a}id, {a}k) IN ((1, 1), (2, 2)) ;;
    EXISTS (SELECT 1 FROM o AS z WHERE z.id = {a}id AND ai_query('chat', z.s) <> 'no') ;; {a}st.a > 1
    """),
    "agg": templates(r"""
    count(*) ;; count() ;; max({text}) ;; min({num}) ;; count(DISTINCT {text}) ;;
    sum({a}id) FILTER (WHERE {cond}) ;; string_agg({text}, ',' ORDER BY {ids}) ;;
    list({num} ORDER BY {ids} DESC) ;; bool_or({cond}) ;; max({call}) ;; count({call}) ;; arg_max({a}s, {a}id) ;;
    ai_query('chat', max({text})) ;; ai_query('chat', 'n ' || count(*)) ;; quantile_cont({a}id, 0.5) ;;
    first({a}s ORDER BY {ids}) ;; max({text}) FILTER ({call} = 'yes') ;; avg({a}id) ;;
    array_agg({text} ORDER BY {ids} DESC NULLS LAST) ;; max(DISTINCT {call}) ;; count(*) FILTER (WHERE {cond}) ;;
    sum(length({call})) ;; min_by({call}, {a}id) ;; count_if({cond}) ;;
    ai_query('chat', string_agg({a}s ORDER BY {ids}))
    """),
    "window": templates(r"""
    row_number() OVER (ORDER BY {ids}) ;; lag({text}) OVER (PARTITION BY {a}k ORDER BY {ids}) ;;
    sum({a}id) OVER win ;; sum({a}id) OVER (ORDER BY {ids} ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) ;;
    rank() OVER win ;; ntile(2) OVER win ;; count(*) OVER (PARTITION BY {call}) ;;
    first_value({call}) OVER (PARTITION BY {a}k ORDER BY {ids}) ;;
    max({text}) OVER (PARTITION BY {a}k ORDER BY {ids} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING) ;;
    ai_query('chat', lag({a}s, 1, 'first') OVER win) ;;
    count({call}) FILTER (WHERE {cond}) OVER (PARTITION BY {a}k) ;; lead({a}s IGNORE NULLS) OVER win ;;
    max({a}s) OVER (ORDER BY {ids} ROWS 2 PRECEDING EXCLUDE CURRENT ROW)
    """),
}
"""Templates by kind. What stands there several times is drawn more often."""
