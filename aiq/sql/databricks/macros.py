# ruff: noqa: E501 -- one line an overload
"""Macros of DuckDB that decide by the types of their arguments what Spark would do. A session creates them once.

A line is one overload: `name(a TYPE) AS body`; `@f(..)` is another macro, `#f(..)` a function of `values.py`. An overload that
asks a struct for the key `m`, a message, refuses its types when the statement is bound. `k || ''`, also of an empty text: until it
is called, a macro has no constant where DuckDB wants one, and DuckDB waits for that where a parameter is joined to a text.
"""

from __future__ import annotations

import re
from functools import cache

SCHEMA = "aiq_spark"
FUNCTION = "aiq_spark_"

_REFUSED = re.compile(r'Could not find key "aiq: ([^"]*)" in struct')
_VALUE = re.compile(r"\[[A-Z_]+\] .*, which gives NULL then\.", re.DOTALL)
_AMBIGUOUS = re.compile(r'Macro "?\w+"?\(\)')
_TYPED = re.compile(r"\(a [A-Z]")
_NO = "struct_extract({'x': 1}, m)"
_INTEGER = r"'\s*[+-]?\d+\s*'"
_FLOAT = r"'\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[dDfF]?\s*'"
_STAMP = r"'\d{4}-\d{2}-\d{2}([ T]([01]\d|2[0-3]):\d{2}(:\d{2}(\.\d{1,6})?)?)?'"
_INTEGERS = "('TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT', 'HUGEINT')"
_NUMBERS = "('TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT', 'HUGEINT', 'DOUBLE', 'FLOAT')"
_ANY_NUMBER = r"'^((TINY|SMALL|BIG|HUGE)INT|INTEGER|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\))$'"
_OTHER_NUMBER = r"'\|((TINY|SMALL|BIG|HUGE)INT|INTEGER|DOUBLE|DECIMAL\(\d+,\d+\))\|'"
_PLAIN = (
    r"'^((TINY|SMALL|BIG|HUGE)INT|INTEGER|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)|BOOLEAN|DATE|TIMESTAMP( WITH TIME ZONE)?)$'"
)
_PLAIN_AMONG = _PLAIN.replace("^", r"\|").replace("$", r"\|")
_ZERO = "'[DIVIDE_BY_ZERO] Division by zero. Use try_divide, which gives NULL then.'"
_NO_REST = "'[REMAINDER_BY_ZERO] Remainder by zero. Use nullif(.., 0) for the second number, which gives NULL then.'"
_NAMED = """'(TINY|SMALL|BIG)INT|INTEGER|FLOAT|DOUBLE|VARCHAR|BOOLEAN|DATE|BLOB|TIMESTAMP( WITH TIME ZONE)?|"NULL"|(INTEGER|BIGINT|DOUBLE|VARCHAR)\\[\\]'"""


def _bad(kind: str, value: str = "a") -> str:
    """A text that no cast takes, with what is wrong; `without_macros` takes it out of DuckDB's error again."""
    words = f"is no {kind}. Use try_cast, which gives NULL then."
    return f"""'[CAST_INVALID_INPUT] The value "' || {value} || '" {words}'"""


def _as(value: str, kind: str) -> str:
    """A value cast to the type of a name that is a constant when the statement is bound."""
    return f"""cast_to_type({value}, json_transform('null', '"' || coalesce(nullif({kind}, ''), 'INTEGER') || '"'))"""


def _side(value: str, sign: str, kind: str) -> str:
    through, last = f"#through({kind} || '', t || '')", f"#side({sign}, {kind} || '', t || '')"
    return _as(_as(value, through), last)


def _operator(sign: str) -> str:
    """Without macros of its own, as chains of operators are as deep as what they are made of."""
    left, right = _side("a", f"'{sign}'", "x"), _side("@allowed(b, t, m)", f"'{sign}'", "y")
    return _as(f"{left} {sign} {right}", "t")


_LINES = rf"""
text(a) AS #text(a)
text(a VARCHAR) AS CAST(a AS VARCHAR)
text(a BIGINT) AS CAST(a AS VARCHAR)
text(a BOOLEAN) AS CAST(a AS VARCHAR)
text(a DATE) AS CAST(a AS VARCHAR)
joined(a) AS #text(a)
joined(a VARCHAR) AS CAST(a AS VARCHAR)
joined(a BIGINT) AS CAST(a AS VARCHAR)
joined(a BOOLEAN) AS CAST(a AS VARCHAR)
joined(a DATE) AS CAST(a AS VARCHAR)
joined(a VARCHAR[]) AS a
joined(a INTEGER[]) AS a
joined(a BLOB) AS a
piece(a, m) AS @any_piece(a, m)
any_piece(a, m) AS struct_extract({{'text': #text(a), 'list': a}}, CASE WHEN typeof(a) = 'BLOB' OR regexp_matches(typeof(a), '^(STRUCT|MAP)\(.*\)$') THEN m || '' WHEN ends_with(typeof(a), ']') THEN 'list' ELSE 'text' END)
piece(a VARCHAR, m) AS CAST(a AS VARCHAR)
piece(a BIGINT, m) AS CAST(a AS VARCHAR)
piece(a BOOLEAN, m) AS CAST(a AS VARCHAR)
piece(a DATE, m) AS CAST(a AS VARCHAR)
piece(a VARCHAR[], m) AS a
piece(a INTEGER[], m) AS a
piece(a BLOB, m) AS {_NO}
word(a, k) AS a
word(a VARCHAR, k) AS CASE lower(trim(a)) WHEN 'today' THEN CAST(CAST(now() AS DATE) AS VARCHAR) WHEN 'tomorrow' THEN CAST(CAST(now() AS DATE) + 1 AS VARCHAR) WHEN 'yesterday' THEN CAST(CAST(now() AS DATE) - 1 AS VARCHAR) WHEN 'epoch' THEN CASE k WHEN 'TIMESTAMPTZ' THEN '1970-01-01 00:00:00+00' ELSE '1970-01-01' END WHEN 'now' THEN CASE k WHEN 'DATE' THEN CAST(CAST(now() AS DATE) AS VARCHAR) WHEN 'TIMESTAMP' THEN CAST(CAST(now() AS TIMESTAMP) AS VARCHAR) ELSE strftime(timezone('UTC', now()), '%Y-%m-%d %H:%M:%S.%f+00') END ELSE a END
timestamp(a TIMESTAMPTZ) AS a
timestamp(a DATE) AS CAST(a AS TIMESTAMPTZ)
timestamp(a TIMESTAMP) AS @earlier(CAST(a AS TIMESTAMPTZ))
timestamp(a VARCHAR) AS CASE WHEN ends_with(@stamp_text(a), '+00') THEN CAST(@stamp_text(a) AS TIMESTAMPTZ) WHEN contains(@stamp_text(a), '|') THEN @zoned(CAST(split_part(@stamp_text(a), '|', 1) AS TIMESTAMP), coalesce(nullif(split_part(@stamp_text(a), '|', 2), ''), 'UTC')) ELSE @earlier(CAST(split_part(@stamp_text(a), '|', 1) AS TIMESTAMPTZ)) END
stamp_text(a) AS CASE WHEN regexp_full_match(a, {_STAMP}) THEN a WHEN regexp_full_match(a, '\s*T?\d{{1,2}}:\d{{1,2}}(:\d.*)?') THEN #stamp(CAST(CAST(now() AS DATE) AS VARCHAR) || ' ' || ltrim(a, ' T'), false) ELSE #stamp(a, false) END
earlier(a) AS list_transform([a], lambda aiq_t: CASE WHEN CAST(aiq_t - INTERVAL 1 HOUR AS TIMESTAMP) = CAST(aiq_t AS TIMESTAMP) THEN aiq_t - INTERVAL 1 HOUR ELSE aiq_t END)[1]
timestamp(a BIGINT) AS to_timestamp(a)
timestamp_ntz(a TIMESTAMP) AS a
timestamp_ntz(a DATE) AS CAST(a AS TIMESTAMP)
timestamp_ntz(a TIMESTAMPTZ) AS CAST(a AS TIMESTAMP)
timestamp_ntz(a VARCHAR) AS CAST(CASE WHEN regexp_full_match(a, {_STAMP}) THEN a ELSE #stamp(a, true) END AS TIMESTAMP)
moment(a TIMESTAMPTZ) AS a
moment(a TIMESTAMP) AS a
moment(a DATE) AS CAST(a AS TIMESTAMPTZ)
moment(a VARCHAR) AS @timestamp(a)
full_moment(a TIMESTAMPTZ) AS a
full_moment(a TIMESTAMP) AS a
full_moment(a DATE) AS CAST(a AS TIMESTAMPTZ)
full_moment(a VARCHAR) AS @timestamp(CASE WHEN regexp_full_match(a, '\d{{4}}-\d{{2}}-\d{{2}} \d{{2}}:\d{{2}}:\d{{2}}') THEN a ELSE {_bad("TIMESTAMP")} END)
to_double(a) AS CAST(a AS DOUBLE)
to_double(a VARCHAR) AS CAST(CASE WHEN regexp_full_match(a, {_FLOAT}) THEN rtrim(trim(a), 'dDfF') WHEN lower(trim(a)) IN ('nan', 'infinity', '-infinity', 'inf', '-inf', '+inf', '+infinity') THEN ltrim(trim(a), '+') ELSE {_bad("DOUBLE")} END AS DOUBLE)
to_float(a) AS CAST(a AS FLOAT)
to_float(a VARCHAR) AS CAST(@to_double(a) AS FLOAT)
to_boolean(a) AS CAST(a AS BOOLEAN)
to_boolean(a VARCHAR) AS CAST(CASE WHEN lower(trim(a)) IN ('t', 'true', 'y', 'yes', '1') THEN 'true' WHEN lower(trim(a)) IN ('f', 'false', 'n', 'no', '0') THEN 'false' ELSE {_bad("BOOLEAN")} END AS BOOLEAN)
to_binary(a BLOB) AS a
to_binary(a VARCHAR) AS encode(a)
no_flag(a, m) AS CASE WHEN struct_extract({{'x': true}}, CASE WHEN typeof(a) = 'BOOLEAN' THEN m || '' ELSE 'x' END) THEN a END
flag(a, m) AS CASE WHEN struct_extract({{'x': true}}, CASE WHEN typeof(a) IN {_NUMBERS} OR typeof(a) LIKE 'DECIMAL%' THEN m || '' ELSE 'x' END) THEN a END
beside(a, k, m) AS cast_to_type(a, struct_extract({{'x': a, 'double': CAST(NULL AS DOUBLE), 'long': CAST(NULL AS DECIMAL(20,0))}}, CASE WHEN typeof(a) = 'BIGINT' AND contains(k || '', '|DECIMAL') AND NOT regexp_matches(k || '', '\|(DOUBLE|FLOAT|VARCHAR|BOOLEAN)\|') THEN 'long' WHEN typeof(a) = 'FLOAT' AND regexp_matches(k || '', {_OTHER_NUMBER}) THEN 'double' WHEN regexp_matches(typeof(a), {_PLAIN}) AND contains(k || '', '|VARCHAR|') OR typeof(a) = 'VARCHAR' AND regexp_matches(k || '', {_PLAIN_AMONG}) OR typeof(a) = 'BOOLEAN' AND regexp_matches(k || '', {_OTHER_NUMBER}) OR regexp_matches(typeof(a), {_ANY_NUMBER}) AND contains(k || '', '|BOOLEAN|') THEN m || '' ELSE 'x' END))
text_number(a, b, m) AS struct_extract({{'whole': CAST(a AS BIGINT), 'double': CAST(a AS DOUBLE)}}, CASE WHEN typeof(b) IN {_INTEGERS} THEN 'whole' WHEN typeof(b) = 'DOUBLE' OR starts_with(typeof(b), 'DECIMAL') THEN 'double' ELSE m || '' END)
text_double(a, b, m) AS struct_extract({{'x': CAST(a AS DOUBLE)}}, CASE WHEN typeof(b) = 'DOUBLE' OR starts_with(typeof(b), 'DECIMAL') THEN 'x' ELSE m || '' END)
type_name(a, m) AS struct_extract({{'TINYINT': 'tinyint', 'SMALLINT': 'smallint', 'INTEGER': 'int', 'BIGINT': 'bigint', 'FLOAT': 'float', 'DOUBLE': 'double', 'VARCHAR': 'string', 'BOOLEAN': 'boolean', 'DATE': 'date', 'BLOB': 'binary', 'TIMESTAMP WITH TIME ZONE': 'timestamp', 'TIMESTAMP': 'timestamp_ntz', 'INTEGER[]': 'array<int>', 'BIGINT[]': 'array<bigint>', 'DOUBLE[]': 'array<double>', 'VARCHAR[]': 'array<string>', '"NULL"': 'void'}}, CASE WHEN regexp_full_match(typeof(a), {_NAMED}) THEN typeof(a) ELSE m || '' END)
as_type(a, t) AS {_as("a", "t")}
allowed(a, t, m) AS struct_extract({{'x': a}}, CASE WHEN t = '' THEN m || '' ELSE 'x' END)
plus(a, b, x, y, t, m) AS {_operator("+")}
like_text(v, k, w, m) AS @as_type(struct_extract({{'x': v}}, CASE WHEN k IN {_INTEGERS} AND NOT w THEN m || '' ELSE 'x' END), #compared_with_text(k || ''))
like_number(v, t, k) AS @as_type(v, #compared_with_number(t || '', k || ''))
texts_only(a, m) AS struct_extract({{'x': a}}, CASE WHEN typeof(a) IN ('VARCHAR[]', '"NULL"') THEN 'x' ELSE m || '' END)
compared(a) AS CAST(coalesce(CAST(a AS VARCHAR), '[COMPARATOR_RETURNS_NULL] The comparison of array_sort gives NULL. Use coalesce around it.') AS INTEGER)
less(a, b, x, y, t, m) AS {_operator("-")}
times(a, b, x, y, t, m) AS {_operator("*")}
ratio(a, b, x, y, t, m) AS struct_extract({{'double': CAST({_side("a", "'/'", "x")} AS DOUBLE) / @zero_fails(CAST({_side("@allowed(b, t, m)", "'/'", "y")} AS DOUBLE), a), 'decimal': @as_type(#quotient(a, b, t), t)}}, #way('/', x, y, t))
share(a, b, x, y, t, m) AS struct_extract({{'double': CAST({_side("a", "'/'", "x")} AS DOUBLE) / CAST({_side("@allowed(b, t, m)", "'/'", "y")} AS DOUBLE), 'decimal': @as_type(#quotient(a, b, t), t)}}, #way('/', x, y, t))
try_ratio(a, b, x, y, t, m) AS struct_extract({{'double': CAST({_side("a", "'/'", "x")} AS DOUBLE) / nullif(CAST({_side("@allowed(b, t, m)", "'/'", "y")} AS DOUBLE), 0), 'decimal': @as_type(#try_quotient(a, b, t), t)}}, #way('/', x, y, t))
rest(a, b, x, y, t, m) AS struct_extract({{'double': {_side("a", "'%'", "x")} % @no_rest_of_zero({_side("@allowed(b, t, m)", "'%'", "y")}, a), 'integer': @as_type(a % @no_rest_of_zero(b, a), t), 'decimal': @as_type(#remainder(a, b, t), t)}}, #way('%', x, y, t))
parts(a, b, x, y, t, m) AS struct_extract({{'integer': CAST(@allowed(a, t, m) AS BIGINT) // @not_zero(CAST(CASE WHEN #way('div', x, y, t) = 'integer' THEN b END AS BIGINT), a), 'decimal': CAST(#whole(a, b, t) AS BIGINT)}}, #way('div', x, y, t))
summed(a, k, m) AS @as_type(@allowed(a, #sum_type(k || ''), m), #sum_type(k || ''))
averaged(d, a, n, k, m) AS struct_extract({{'DOUBLE': d, 'DECIMAL': @as_type(#quotient(a, n, #average_type(k || '')), #average_type(k || ''))}}, CASE WHEN #average_type(k || '') = '' THEN m || '' ELSE split_part(#average_type(k || ''), '(', 1) END)
decimal_or_zero(a, k) AS @as_type(a, CASE WHEN starts_with(k || '', 'DECIMAL') THEN k || '' ELSE 'INTEGER' END)
number(a, m) AS struct_extract({{'x': a}}, CASE WHEN typeof(a) IN ('VARCHAR', 'BOOLEAN', 'FLOAT', 'INTERVAL', 'TIME') THEN m || '' ELSE 'x' END)
double(a, m) AS struct_extract({{'x': CAST(a AS DOUBLE)}}, CASE WHEN typeof(a) IN {_NUMBERS} THEN 'x' ELSE m || '' END)
integer(a, m) AS struct_extract({{'x': TRY_CAST(a AS BIGINT)}}, CASE WHEN typeof(a) IN {_INTEGERS} THEN 'x' ELSE m || '' END)
modulo(a, b, m) AS struct_extract({{'x': a}}, CASE WHEN typeof(a) IN {_NUMBERS} AND typeof(b) IN {_NUMBERS} THEN 'x' ELSE m || '' END) % @no_rest_of_zero(b, a)
pmodulo(a, b, m) AS CASE WHEN @modulo(a, b, m) < 0 THEN (a % b + b) % b ELSE a % b END
not_zero(b, a) AS CASE WHEN b = 0 AND a IS NOT NULL THEN CAST({_ZERO} || left(CAST(b AS VARCHAR), 0) AS INTEGER) ELSE nullif(b, 0) END
no_rest_of_zero(b, a) AS CASE WHEN b = 0 AND a IS NOT NULL THEN CAST({_NO_REST} || left(CAST(b AS VARCHAR), 0) AS INTEGER) ELSE nullif(b, 0) END
up(a, k, m) AS struct_extract({{'same': CAST(@allowed(a, #numeric(k || ''), m) AS BIGINT), 'double': CAST(ceil(a) AS BIGINT), 'decimal': @as_type(ceil(a), #integer_type(k || ''))}}, #numeric(k || ''))
down(a, k, m) AS struct_extract({{'same': CAST(@allowed(a, #numeric(k || ''), m) AS BIGINT), 'double': CAST(floor(a) AS BIGINT), 'decimal': @as_type(floor(a), #integer_type(k || ''))}}, #numeric(k || ''))
rounded(a, k, m) AS struct_extract({{'same': @allowed(a, #numeric(k || ''), m), 'double': @rounded_double(CAST(a AS DOUBLE), 0), 'decimal': @as_type(round(a, 0), #rounded_type(k || '', '0'))}}, #numeric(k || ''))
rounded_to(a, n, k, m) AS struct_extract({{'same': @as_type(@rounded_integer(@allowed(a, #rounded_integer(k || ''), m), n), #rounded_integer(k || '')), 'double': @rounded_double(CAST(a AS DOUBLE), n), 'decimal': @as_type(round(a, CAST(n AS INTEGER)), #rounded_type(k || '', n || '')), 'tens': @as_type(list_transform([a], lambda aiq_x: CASE WHEN aiq_x IS NOT NULL THEN round(aiq_x, CAST(n AS INTEGER)) END)[1], #rounded_type(k || '', n || ''))}}, CASE WHEN #numeric(k || '') = 'decimal' AND n < 0 THEN 'tens' ELSE #numeric(k || '') END)
share_rounded(a, k, m) AS struct_extract({{'double': @rounded_double(CAST(a AS DOUBLE), 0), 'decimal': @as_type(round(a, 0), #rounded_type(k || '', '0'))}}, CASE WHEN k || '' = '' THEN m || '' ELSE #numeric(k || '') END)
share_rounded_to(a, n, k, m) AS struct_extract({{'double': @rounded_double(CAST(a AS DOUBLE), n), 'decimal': @as_type(round(a, CAST(n AS INTEGER)), #rounded_type(k || '', n || ''))}}, CASE WHEN k || '' = '' THEN m || '' ELSE #numeric(k || '') END)
half_even_to(a, n, k, m) AS struct_extract({{'same': @as_type(#half_even(CAST(@allowed(a, #rounded_integer(k || ''), m) AS VARCHAR), n), #rounded_integer(k || '')), 'double': CAST(#half_even(CAST(CAST(a AS DOUBLE) AS VARCHAR), n) AS DOUBLE), 'decimal': @as_type(#half_even(CAST(a AS VARCHAR), n), #rounded_type(k || '', n || ''))}}, #numeric(k || ''))
up_to(a, n, k, m) AS @as_type(#ceiling(CAST(@as_type(CAST(@allowed(a, #as_decimal(k || ''), m) AS VARCHAR), #as_decimal(k || '')) AS VARCHAR), n), #rounded_type(#as_decimal(k || ''), n || ''))
down_to(a, n, k, m) AS @as_type(#floor(CAST(@as_type(CAST(@allowed(a, #as_decimal(k || ''), m) AS VARCHAR), #as_decimal(k || '')) AS VARCHAR), n), #rounded_type(#as_decimal(k || ''), n || ''))
cast_timestamp(a TIMESTAMPTZ) AS a
cast_timestamp(a DATE) AS @timestamp(a)
cast_timestamp(a TIMESTAMP) AS @timestamp(a)
cast_timestamp(a VARCHAR) AS @timestamp(a)
cast_timestamp(a BIGINT) AS make_timestamptz(a * 1000000)
cast_timestamp(a DOUBLE) AS make_timestamptz(CAST(trunc(a * 1000000) AS BIGINT))
cast_timestamp(a DECIMAL(38,18)) AS make_timestamptz(CAST(trunc(a * 1000000) AS BIGINT))
rounded_double(a, n) AS list_transform([a], lambda aiq_x: CASE WHEN isfinite(aiq_x) AND abs(aiq_x) < 1e15 THEN CAST(round(CAST(CAST(aiq_x AS VARCHAR) AS DECIMAL(38,18)), n) AS DOUBLE) ELSE aiq_x END)[1]
decimal_text(a) AS CASE WHEN typeof(a) = 'BOOLEAN' THEN CASE CAST(a AS VARCHAR) WHEN 'true' THEN '1' WHEN 'false' THEN '0' END WHEN typeof(a) <> 'VARCHAR' OR regexp_full_match(CAST(a AS VARCHAR), {_FLOAT}) THEN trim(CAST(a AS VARCHAR)) ELSE {_bad("DECIMAL", "CAST(a AS VARCHAR)")} END
as_date(a) AS CASE WHEN typeof(a) = 'VARCHAR' THEN @date_of_text(CAST(a AS VARCHAR)) ELSE CAST(a AS DATE) END
date_of_text(a) AS CASE WHEN regexp_full_match(a, '\d{{4}}-\d{{2}}-\d{{2}}') THEN CAST(a AS DATE) WHEN regexp_full_match(trim(a), '[+-]?\d{{4,7}}(-\d{{1,2}}(-\d{{1,2}}([ T].*)?)?)?') THEN make_date(CAST(regexp_extract(trim(a), '^[+-]?\d+') AS INTEGER), @part_or_1(regexp_extract(trim(a), '^[+-]?\d+-(\d+)', 1)), @part_or_1(regexp_extract(trim(a), '^[+-]?\d+-\d+-(\d+)', 1))) ELSE CAST({_bad("DATE")} AS DATE) END
part_or_1(a) AS CAST(CASE WHEN a = '' THEN '1' ELSE a END AS INTEGER)
zoned(a, z) AS list_transform([a], lambda aiq_z: CASE WHEN timezone(z, timezone(z, aiq_z) - INTERVAL 1 HOUR) = aiq_z THEN timezone(z, aiq_z) - INTERVAL 1 HOUR ELSE timezone(z, aiq_z) END)[1]
zero_fails(b, a) AS CASE WHEN b = 0 AND a IS NOT NULL THEN CAST({_ZERO} || left(CAST(b AS VARCHAR), 0) AS DOUBLE) ELSE nullif(b, 0) END
months_apart(a, b) AS CAST(trunc(@month_days(CAST(b AS DATE) + CASE WHEN b > a AND CAST(b AS TIME) < CAST(a AS TIME) THEN -1 WHEN b < a AND CAST(b AS TIME) > CAST(a AS TIME) THEN 1 ELSE 0 END, CAST(a AS DATE)) / 32) AS BIGINT)
month_days(b, a) AS (year(b) * 12 + month(b)) * 32 + day(b) - (year(a) * 12 + month(a)) * 32 - day(a)
upper_of(a) AS CASE WHEN strlen(a) = length(a) THEN upper(a) ELSE #upper(a) END
lower_of(a) AS CASE WHEN strlen(a) = length(a) THEN lower(a) ELSE #lower(a) END
quoted(a) AS '''' || replace(a, '''', '\''') || ''''
shifted(a INTEGER, n, l, u, m) AS #shift_int(a, n, l, u)
shifted(a BIGINT, n, l, u, m) AS #shift_bigint(a, n, l, u)
shifted(a VARCHAR, n, l, u, m) AS {_NO}
in_2000s(a) AS list_transform([a], lambda aiq_y: CASE WHEN year(aiq_y) < 2000 THEN aiq_y + INTERVAL 100 YEAR ELSE aiq_y END)[1]
reversed(a, m) AS list_reverse(a)
reversed(a VARCHAR, m) AS CASE WHEN strlen(a) = length(a) THEN reverse(a) ELSE #reverse(a) END
reversed(a BIGINT, m) AS reverse(CAST(a AS VARCHAR))
reversed(a BOOLEAN, m) AS reverse(CAST(a AS VARCHAR))
reversed(a DATE, m) AS reverse(CAST(a AS VARCHAR))
reversed(a DOUBLE, m) AS reverse(#text(a))
reversed(a TIMESTAMPTZ, m) AS reverse(#text(a))
reversed(a DECIMAL(38,10), m) AS {_NO}
inserted(a, p, v) AS CASE WHEN a IS NULL OR p IS NULL THEN NULL WHEN p > len(a) THEN list_append(list_resize(a, p - 1), v) WHEN p > 0 THEN list_concat(list_slice(a, 1, p - 1), [v], list_slice(a, p, len(a))) WHEN p < 0 AND p >= -len(a) - 1 THEN list_concat(list_slice(a, 1, len(a) + p + 1), [v], list_slice(a, len(a) + p + 2, len(a))) ELSE list_resize(a, CAST('array_insert at the place ' || p AS BIGINT)) END
hex(a VARCHAR) AS hex(a)
hex(a BLOB) AS hex(a)
hex(a BIGINT) AS to_hex(a)
counted(a) AS len(map_keys(a))
counted(a VARCHAR[]) AS len(a)
counted(a INTEGER[]) AS len(a)
counted(a BIGINT[]) AS len(a)
counted(a DOUBLE[]) AS len(a)
counted(a DATE[]) AS len(a)
counted(a BOOLEAN[]) AS len(a)
apart(a DATE, b DATE, m) AS CAST(a - b AS BIGINT) * 86400000000
apart(a TIMESTAMP, b TIMESTAMP, m) AS epoch_us(a) - epoch_us(b)
apart(a TIMESTAMPTZ, b TIMESTAMPTZ, m) AS epoch_us(CAST(a AS TIMESTAMP)) - epoch_us(CAST(b AS TIMESTAMP))
apart(a VARCHAR, b VARCHAR, m) AS {_NO}
part_apart(a DATE, b DATE, u, m) AS struct_extract({{'DAY': CAST(a - b AS INTEGER)}}, CASE WHEN u || '' = 'DAY' THEN 'DAY' ELSE m || '' END)
part_apart(a TIMESTAMP, b TIMESTAMP, u, m) AS @part_of(epoch_us(a) - epoch_us(b), u, m)
part_apart(a TIMESTAMPTZ, b TIMESTAMPTZ, u, m) AS @part_of(epoch_us(CAST(a AS TIMESTAMP)) - epoch_us(CAST(b AS TIMESTAMP)), u, m)
part_apart(a VARCHAR, b VARCHAR, u, m) AS {_NO}
part_of(n, u, m) AS struct_extract({{'DAY': CAST(n // 86400000000 AS INTEGER), 'HOUR': CAST(n // 3600000000 % 24 AS TINYINT), 'MINUTE': CAST(n // 60000000 % 60 AS TINYINT), 'SECOND': CAST(CAST(n % 60000000 AS DECIMAL(18,6)) / 1000000 AS DECIMAL(8,6))}}, CASE WHEN u || '' IN ('DAY', 'HOUR', 'MINUTE', 'SECOND') THEN u || '' ELSE m || '' END)
by_days(a DATE, b, m) AS CAST(a + b AS DATE)
by_days(a TIMESTAMP, b, m) AS a + b
by_days(a TIMESTAMPTZ, b, m) AS a + b
by_days(a VARCHAR, b, m) AS {_NO}
by_time(a DATE, b, m) AS CAST(a AS TIMESTAMPTZ) + b
by_time(a TIMESTAMP, b, m) AS a + b
by_time(a TIMESTAMPTZ, b, m) AS a + b
by_time(a VARCHAR, b, m) AS {_NO}
json_text(a, p) AS CASE WHEN json_valid(a) AND NOT regexp_matches(a, 'NaN|Infinity') THEN a ->> p ELSE CAST(#first_json(a) AS VARCHAR) ->> p END
variant_text(a, p, k) AS CASE WHEN json_type(a, p) = 'BOOLEAN' AND k <> 'BOOLEAN' THEN @flag_as(a ->> p, k) WHEN json_type(a, p) IN ('UBIGINT', 'BIGINT', 'DOUBLE') THEN @number_as(a ->> p, k) ELSE @json_text(a, p) END
flag_as(a, k) AS CASE WHEN k IN ('INT', 'FLOAT') THEN CASE a WHEN 'true' THEN '1' ELSE '0' END ELSE a END
number_as(a, k) AS CASE k WHEN 'INT' THEN CASE WHEN regexp_full_match(a, '-?\d+') THEN a ELSE coalesce(CAST(TRY_CAST(trunc(TRY_CAST(a AS DECIMAL(38,18))) AS BIGINT) AS VARCHAR), a) END WHEN 'BOOLEAN' THEN CASE WHEN TRY_CAST(a AS DOUBLE) = 0 THEN 'false' ELSE 'true' END WHEN 'TIMESTAMP' THEN coalesce(strftime(make_timestamp(TRY_CAST(trunc(TRY_CAST(a AS DECIMAL(30,8)) * 1000000) AS BIGINT)), '%Y-%m-%d %H:%M:%S.%f') || 'Z', a) ELSE a END
item(a, k VARCHAR) AS a[k]
item(a, k BIGINT) AS a[CAST(CASE WHEN k < 0 OR k >= len(a) THEN 'no item ' || k || ' in an array of ' || len(a) ELSE CAST(k + 1 AS VARCHAR) END AS BIGINT)]
element(a, k VARCHAR) AS a[k]
element(a, k BIGINT) AS a[CAST(CASE WHEN k = 0 OR abs(k) > len(a) THEN 'no element ' || k || ' in an array of ' || len(a) ELSE CAST(k AS VARCHAR) END AS BIGINT)]
try_element(a, k VARCHAR) AS a[k]
try_element(a, k BIGINT) AS a[CAST(CASE WHEN k = 0 THEN 'elements are counted from 1' ELSE CAST(k AS VARCHAR) END AS BIGINT)]
rounded_integer(a, n) AS CASE WHEN n >= 0 THEN CAST(a AS HUGEINT) ELSE CASE WHEN a < 0 THEN -1 ELSE 1 END * (abs(CAST(a AS HUGEINT)) + CAST(pow(10, -n) AS HUGEINT) // 2) // CAST(pow(10, -n) AS HUGEINT) * CAST(pow(10, -n) AS HUGEINT) END
formatted(a, m) AS struct_extract({{'x': #text(a)}}, CASE WHEN typeof(a) IN ('VARCHAR', 'TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT', 'HUGEINT', 'BOOLEAN', 'DOUBLE', 'FLOAT') THEN 'x' ELSE m || '' END)
formatted_integer(a, m) AS struct_extract({{'x': CAST(a AS VARCHAR)}}, CASE WHEN typeof(a) IN {_INTEGERS} THEN 'x' ELSE m || '' END)
formatted_double(a, n, m) AS struct_extract({{'x': #fixed(a, n)}}, CASE WHEN typeof(a) = 'DOUBLE' THEN 'x' ELSE m || '' END)
zero_padded(a, n) AS CASE WHEN a IN ('null', 'NaN') OR contains(a, 'Infinity') THEN @right_aligned(a, n) WHEN a LIKE '-%' THEN '-' || @zeros(substring(a, 2), n - 1) ELSE @zeros(a, n) END
zeros(a, n) AS CASE WHEN length(a) < n THEN lpad(a, CAST(n AS INTEGER), '0') ELSE a END
left_aligned(a, n) AS CASE WHEN length(a) < n THEN rpad(a, CAST(n AS INTEGER), ' ') ELSE a END
right_aligned(a, n) AS CASE WHEN length(a) < n THEN lpad(a, CAST(n AS INTEGER), ' ') ELSE a END
has_null(a) AS len(list_filter(a, lambda aiq_e: aiq_e IS NULL)) > 0
has(a, v) AS CASE WHEN v IS NULL THEN @has_null(a) WHEN typeof(v) IN ('DOUBLE', 'FLOAT') THEN list_contains(@keys(a), CAST(v AS VARCHAR)) ELSE list_contains(a, v) END
keys(a) AS list_transform(a, lambda aiq_k: CAST(aiq_k AS VARCHAR))
distinct(a) AS list_filter(a, lambda aiq_e, aiq_i: CASE WHEN typeof(aiq_e) IN ('DOUBLE', 'FLOAT') THEN list_position(@keys(a), CAST(aiq_e AS VARCHAR)) ELSE list_position(a, aiq_e) END = aiq_i)
first_like(a, v) AS a[list_position(a, v)]
flat(a, m) AS CASE WHEN struct_extract({{'x': true}}, CASE WHEN regexp_matches(typeof(a), '\]$|^STRUCT') THEN m || '' ELSE 'x' END) THEN a END
flat_items(a, m) AS CASE WHEN struct_extract({{'x': true}}, CASE WHEN regexp_matches(typeof(a), '\]\[\d*\]$|^STRUCT') THEN m || '' ELSE 'x' END) THEN a END
slice(a, s, n) AS CASE WHEN a IS NULL OR s IS NULL OR n IS NULL THEN NULL WHEN s > 0 AND n >= 0 THEN list_slice(a, s, s + n - 1) WHEN s < 0 AND n >= 0 AND len(a) + s < 0 THEN list_slice(a, 2, 1) WHEN s < 0 AND n >= 0 THEN list_slice(a, len(a) + s + 1, len(a) + s + n) ELSE list_slice(a, CAST('no slice from ' || s || ' of ' || n AS BIGINT), 1) END
sequence(a INTEGER, b INTEGER) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL THEN CAST(generate_series(a, b, CASE WHEN a <= b THEN 1 ELSE -1 END) AS INTEGER[]) END
sequence(a BIGINT, b BIGINT) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL THEN generate_series(a, b, CASE WHEN a <= b THEN 1 ELSE -1 END) END
sequence(a DATE, b DATE) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL THEN list_transform(generate_series(0, b - a, CASE WHEN a <= b THEN 1 ELSE -1 END), lambda aiq_i: a + CAST(aiq_i AS INTEGER)) END
dates_by(a DATE, b DATE, u, n, v, m) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL THEN list_filter(list_transform(generate_series(0, CASE WHEN a > b THEN CAST('no sequence of dates from ' || a || ' to ' || b AS BIGINT) ELSE date_diff(u, a, b) // n END), lambda aiq_i: CAST(a + v * aiq_i AS DATE)), lambda aiq_d: aiq_d <= b) END
dates_by(a TIMESTAMP, b TIMESTAMP, u, n, v, m) AS {_NO}
dates_by(a TIMESTAMPTZ, b TIMESTAMPTZ, u, n, v, m) AS {_NO}
dates_by(a VARCHAR, b VARCHAR, u, n, v, m) AS {_NO}
sequence_by(a INTEGER, b INTEGER, s INTEGER) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL AND s IS NOT NULL THEN CAST(generate_series(a, b, CASE WHEN (a < b AND s <= 0) OR (a > b AND s >= 0) THEN CAST('no sequence by ' || s AS BIGINT) ELSE s END) AS INTEGER[]) END
sequence_by(a BIGINT, b BIGINT, s BIGINT) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL AND s IS NOT NULL THEN generate_series(a, b, CASE WHEN (a < b AND s <= 0) OR (a > b AND s >= 0) THEN CAST('no sequence by ' || s AS BIGINT) ELSE s END) END
months_between(a, b) AS @months_with_seconds(CAST(a AS TIMESTAMP), CAST(b AS TIMESTAMP), @seconds_of_day(a), @seconds_of_day(b))
seconds_of_day(a) AS (epoch_us(a) - epoch_us(CAST(CAST(a AS DATE) AS TIMESTAMPTZ))) // 1000000
months_with_seconds(a, b, c, d) AS CASE WHEN day(a) = day(b) OR (CAST(a AS DATE) = last_day(a) AND CAST(b AS DATE) = last_day(b)) THEN CAST((year(a) - year(b)) * 12 + month(a) - month(b) AS DOUBLE) ELSE CAST(round(CAST((year(a) - year(b)) * 12 + month(a) - month(b) + CAST((day(a) - day(b)) * 86400 + c - d AS DOUBLE) / 2678400 AS DECIMAL(38,18)), 8) AS DOUBLE) END
next_day(a, k) AS a + CAST((k - isodow(a) + 6) % 7 + 1 AS INTEGER)
index_of(a, b) AS CAST(strpos(a, b) AS INTEGER)
substr(a, p, n) AS CASE WHEN a IS NULL OR p IS NULL OR n IS NULL THEN NULL WHEN n <= 0 THEN CASE WHEN a IS NULL THEN NULL ELSE '' END WHEN p > 0 THEN substring(a, p, n) WHEN p = 0 THEN substring(a, 1, n) WHEN length(a) + p >= 0 THEN substring(a, length(a) + p + 1, n) ELSE substring(a, 1, greatest(n + length(a) + p, 0)) END
substr_rest(a, p) AS CASE WHEN p IS NULL THEN NULL WHEN p > 0 THEN substring(a, p) WHEN p = 0 OR length(a) + p < 0 THEN a ELSE substring(a, length(a) + p + 1) END
substring_index(a, d, n) AS CASE WHEN n IS NULL THEN NULL WHEN d = '' OR n = 0 THEN CASE WHEN a IS NULL OR d IS NULL THEN NULL ELSE '' END WHEN n > 0 THEN array_to_string(list_slice(string_split(a, d), 1, n), d) ELSE array_to_string(list_slice(string_split(a, d), greatest(len(string_split(a, d)) + n + 1, 1), len(string_split(a, d))), d) END
datediff(a, b) AS CAST(date_diff('day', b, a) AS INTEGER)
months(a, n) AS CAST(a + to_months(CAST(n AS INTEGER)) AS DATE)
size(a) AS CAST(len(a) AS INTEGER)
each_text(a) AS list_transform(a, lambda aiq_e: #text(aiq_e))
item_texts(a) AS list_transform(a, lambda aiq_e: #text(aiq_e))
item_texts(a VARCHAR[]) AS a
item_texts(a INTEGER[]) AS CAST(a AS VARCHAR[])
texts(a) AS #texts(a)
kept(a, k, v, m) AS struct_extract({{'x': a}}, CASE WHEN #kept_item(k || '', v || '') = '' THEN m || '' ELSE 'x' END)
made(a, k, v, m) AS struct_extract({{'x': a}}, CASE WHEN #made_item(k || '', v || '') = '' THEN m || '' ELSE 'x' END)
alike(a, k, v, m) AS struct_extract({{'x': a}}, CASE WHEN #same_items(k || '', v || '') = '' THEN m || '' ELSE 'x' END)
no_fraction(a, m) AS struct_extract({{'x': a}}, CASE WHEN regexp_matches(typeof(a), '^(DOUBLE|FLOAT|DECIMAL)') THEN m || '' ELSE 'x' END)
cut(a, m) AS struct_extract({{'x': a, 'cut': CAST(trunc(TRY_CAST(a AS DOUBLE)) AS BIGINT)}}, CASE WHEN typeof(a) = '' THEN m || '' WHEN regexp_matches(typeof(a), '^(DOUBLE|FLOAT|DECIMAL)') THEN 'cut' ELSE 'x' END)
no_text(a, m) AS struct_extract({{'x': a}}, CASE WHEN typeof(a) = 'VARCHAR' THEN m || '' ELSE 'x' END)
text_keys(a, m) AS struct_extract({{'x': a}}, CASE WHEN typeof(a) LIKE 'MAP(VARCHAR,%' OR typeof(a) = '"NULL"' THEN 'x' ELSE m || '' END)
no_nested(a, m) AS struct_extract({{'x': a}}, CASE WHEN regexp_matches(typeof(a), '\[\]\[\]|STRUCT\(|MAP\(') THEN m || '' ELSE 'x' END)
nested(a, m) AS struct_extract({{'x': a}}, CASE WHEN regexp_matches(typeof(a), '\]$|^(STRUCT|MAP)\(') AND NOT regexp_matches(typeof(a), '(^|[ (])JSON([,)\[]|$)') THEN 'x' ELSE m || '' END)
texts(a VARCHAR) AS [CAST(a AS VARCHAR)]
texts(a VARCHAR[]) AS a
exploded(a) AS unnest(a)
collected(a) AS coalesce(a, [])
""".strip()


def _integer_casts() -> list[str]:
    lines = []
    for name, kind in {"tinyint": "TINYINT", "smallint": "SMALLINT", "int": "INTEGER", "bigint": "BIGINT"}.items():
        lines += [
            f"to_{name}(a, m) AS CAST(trunc(a) AS {kind})",
            f"to_{name}(a BOOLEAN, m) AS CAST(a AS {kind})",
            f"to_{name}(a TIMESTAMPTZ, m) AS CAST(floor(epoch(a)) AS {kind})",
            f"to_{name}(a TIMESTAMP, m) AS {_NO}",  # and of a DATE; of DATE there could be no other overload for NULL
            f"to_{name}(a VARCHAR, m) AS CAST(CASE WHEN regexp_full_match(a, {_INTEGER}) THEN trim(a) "
            f"ELSE {_bad('INT' if kind == 'INTEGER' else kind)} END AS {kind})",
        ]
    return lines


def _spelled(text: str) -> str:
    return text.replace("@", f"{SCHEMA}.").replace("#", FUNCTION)


@cache
def typed_places() -> dict[str, tuple[int, ...]]:
    """The macros that DuckDB chooses by the types of their arguments, and which of those have one, from 0."""
    found: dict[str, set[int]] = {}
    for line in [*_integer_casts(), *_LINES.splitlines()]:
        name, parameters = line.split(") AS ", 1)[0].split("(", 1)
        for place, parameter in enumerate(parameters.split(", ")):
            if " " in parameter:
                found.setdefault(name, set()).add(place)
    return {name: tuple(sorted(places)) for name, places in found.items()}


@cache
def statements() -> tuple[str, ...]:
    """What creates the macros in a database that is attached as `SCHEMA`, in order."""
    overloads: dict[str, list[str]] = {}
    for line in [*_integer_casts(), *_LINES.splitlines()]:
        head, body = line.split(" AS ", 1)
        name, parameters = head.split("(", 1)
        overloads.setdefault(name, []).append(f"({parameters} AS {_spelled(body)}")
    for made in overloads.values():
        if (
            sum(_TYPED.match(each) is not None for each in made) == 1
        ):  # else what has no type yet would be taken for that one
            untyped = next(
                (each for each in made if _TYPED.match(each) is None), made[0].replace("(a ", "(a, aiq_was ")
            )
            made.append(untyped.split(") AS ")[0].replace("(a", "(a UUID", 1) + ") AS a")
    last = [name for name in overloads if any(f"{SCHEMA}." in each for each in overloads[name])]
    order = [name for name in overloads if name not in last]
    waiting = list(last)
    while waiting:
        name = next(
            each for each in waiting
            if not any(f"{SCHEMA}.{other}(" in text for other in waiting if other != each for text in overloads[each])
        )  # fmt: skip
        order.append(name)
        waiting.remove(name)
    return tuple(f"CREATE OR REPLACE MACRO {SCHEMA}.main.{name}{', '.join(overloads[name])}" for name in order)


def without_macros(text: str) -> str:
    """An error of DuckDB's in the user's words: a refusal as a sentence, macros by the names of what they stand for."""
    if (refused := _REFUSED.search(text)) is not None:
        return f"Binder Error: {refused.group(1)}"
    if (value := _VALUE.search(text)) is not None:
        return f"Conversion Error: {value.group()}"
    if "has multiple overloads that match" in text and _AMBIGUOUS.search(text) is not None:
        return (
            "Binder Error: this part of the statement has no type before its rows are computed (an aggregate, a window "
            "function or a subquery in a function or an operator); compute that in a subquery first: "
            "SELECT .. FROM (SELECT .. AS x FROM ..)"
        )
    return text.replace(f"{SCHEMA}.", "").replace(FUNCTION, "")
