# ruff: noqa: E501 -- one line an entry
"""The allow list of functions: how DuckDB spells each function of Spark that has an exact counterpart.

In a template `{0}` is an argument, `{s0}` its text, `{d0}` its date, `{t0}` its moment, `{*}` all arguments and `{m}` the words of
a refusal; `@f(` is a macro, `#f(` a function of `values.py`. A function of several numbers of arguments has a template for each.
"""

from __future__ import annotations

# fmt: off
SAME = ["abs", "acos", "asin", "atan", "atan2", "degrees", "radians", "sin", "cos", "tan", "coalesce", "nullif", "unhex", "getvariable"]
TEMPLATES: dict[str, str | tuple[str, ...]] = {
    "upper": "upper({s0})", "ucase": "upper({s0})", "lower": "lower({s0})", "lcase": "lower({s0})",
    "length": "CAST(length({s0}) AS INTEGER)", "len": "CAST(length({s0}) AS INTEGER)",
    "char_length": "CAST(length({s0}) AS INTEGER)", "character_length": "CAST(length({s0}) AS INTEGER)",
    "trim": "trim({s0}, ' ')", "btrim": ("trim({s0}, ' ')", "trim({s0}, {s1})"), "ltrim": "ltrim({s0}, ' ')",
    "rtrim": "rtrim({s0}, ' ')",
    "replace": ("CASE WHEN {s1} = '' THEN {s0} ELSE replace({s0}, {s1}, '') END",
                "CASE WHEN {s1} = '' THEN {s0} ELSE replace({s0}, {s1}, {s2}) END"),
    "substring": ("@substr_rest({s0}, {1})", "@substr({s0}, {1}, {2})"),
    "substr": ("@substr_rest({s0}, {1})", "@substr({s0}, {1}, {2})"),
    "substring_index": "@substring_index({s0}, {s1}, {2})",
    "left": "CASE WHEN {1} <= 0 AND {s0} IS NOT NULL THEN '' ELSE left({s0}, {1}) END",
    "right": "CASE WHEN {1} <= 0 AND {s0} IS NOT NULL THEN '' ELSE right({s0}, {1}) END",
    "startswith": "starts_with({s0}, {s1})", "endswith": "ends_with({s0}, {s1})", "contains": "contains({s0}, {s1})",
    "instr": "@index_of({s0}, {s1})", "locate": "@index_of({s1}, {s0})", "position": "@index_of({s1}, {s0})",
    "repeat": "repeat({s0}, greatest({1}, 0))", "reverse": "reverse({s0})", "space": "repeat(' ', greatest({0}, 0))",
    "initcap": "#initcap({s0})", "find_in_set": "#find_in_set({s0}, {s1})", "translate": "#translate({s0}, {s1}, {s2})",
    "lpad": ("lpad({s0}, greatest({1}, 0), ' ')",), "rpad": ("rpad({s0}, greatest({1}, 0), ' ')",),
    "ascii": "CASE WHEN {s0} = '' THEN 0 ELSE CAST(unicode({s0}) AS INTEGER) END",
    "levenshtein": "CAST(levenshtein({s0}, {s1}) AS INTEGER)",
    "md5": "md5({s0})", "crc32": "#crc32({s0})", "sha1": "sha1({s0})", "sha": "sha1({s0})",
    "base64": "to_base64(@to_binary({0}))", "hex": "@hex({0})",
    "split_part": "split_part({s0}, {s1}, {2})",
    "nvl": "coalesce({0}, {1})", "ifnull": "coalesce({0}, {1})", "nvl2": "CASE WHEN {0} IS NOT NULL THEN {1} ELSE {2} END",
    "nullif": "nullif({0}, {1})", "nullifzero": "nullif({0}, 0)", "zeroifnull": "coalesce({0}, 0)",
    "if": "CASE WHEN {0} THEN {1} ELSE {2} END",
    "isnull": "({0} IS NULL)", "isnotnull": "({0} IS NOT NULL)", "equal_null": "({0} IS NOT DISTINCT FROM {1})",
    "isnan": "coalesce(isnan(CAST({0} AS DOUBLE)), false)",
    "greatest": "greatest({*})", "least": "least({*})",
    "sqrt": "CASE WHEN CAST({0} AS DOUBLE) < 0 THEN CAST('NaN' AS DOUBLE) ELSE sqrt({0}) END",
    "power": "pow(CAST({0} AS DOUBLE), CAST({1} AS DOUBLE))", "pow": "pow(CAST({0} AS DOUBLE), CAST({1} AS DOUBLE))",
    "ln": "CASE WHEN CAST({0} AS DOUBLE) > 0 THEN ln(CAST({0} AS DOUBLE)) END", "pi": "pi()",     "positive": "{0}", "negative": "(-{0})",
    "year": "CAST(year({d0}) AS INTEGER)", "month": "CAST(month({d0}) AS INTEGER)", "day": "CAST(day({d0}) AS INTEGER)",
    "dayofmonth": "CAST(day({d0}) AS INTEGER)", "quarter": "CAST(quarter({d0}) AS INTEGER)",
    "dayofyear": "CAST(dayofyear({d0}) AS INTEGER)", "weekofyear": "CAST(weekofyear({d0}) AS INTEGER)",
    "dayofweek": "CAST(dayofweek({d0}) + 1 AS INTEGER)", "weekday": "CAST(isodow({d0}) - 1 AS INTEGER)",
    "dayname": "strftime({d0}, '%a')", "monthname": "strftime({d0}, '%b')",
    "hour": "CAST(hour({t0}) AS INTEGER)", "minute": "CAST(minute({t0}) AS INTEGER)",
    "second": "CAST(second({t0}) AS INTEGER)", "last_day": "last_day({d0})",
    "date_sub": "({d0} - CAST({1} AS INTEGER))", "add_months": "@months({d0}, {1})",
    "make_date": "make_date({0}, {1}, {2})", "unix_date": "CAST(({d0} - DATE '1970-01-01') AS INTEGER)",
    "date_from_unix_date": "(DATE '1970-01-01' + CAST({0} AS INTEGER))",
    "to_date": "@date({0})", "to_timestamp": "@timestamp({0})", "date": "@date({0})",
    "array": "[{*}]", "size": "CAST(@counted({0}) AS INTEGER)",
    "cardinality": "CAST(@counted({0}) AS INTEGER)", "array_size": "CAST(len({0}) AS INTEGER)",
    "array_contains": "CASE WHEN {0} IS NULL THEN NULL WHEN list_contains({0}, {1}) THEN true "
                      "WHEN list_contains(list_transform({0}, lambda aiq_e: aiq_e IS NULL), true) THEN NULL ELSE false END",
    "array_join": ("array_to_string({0}, {1})", "array_to_string(list_transform({0}, lambda aiq_e: coalesce(aiq_e, {2})), {1})"),
    "array_max": "list_max({0})", "array_min": "list_min({0})",
    "flatten": "flatten({0})", "array_append": "CASE WHEN {0} IS NOT NULL THEN list_append({0}, {1}) END",
    "array_compact": "list_filter({0}, lambda aiq_e: aiq_e IS NOT NULL)",
    "transform": "list_transform({0}, {1})", "filter": "list_filter({0}, {1})",
    "array_distinct": "list_filter({0}, lambda aiq_e, aiq_i: list_position({0}, aiq_e) = aiq_i)",
    "to_json": "#to_json({0})",
    "map_keys": "map_keys({0})", "map_values": "map_values({0})", "map_entries": "map_entries({0})",
    "map_contains_key": "map_contains({0}, {1})", "map_from_entries": "map_from_entries({0})",
    "parse_json": "CAST({0} AS JSON)", "try_parse_json": "TRY_CAST({0} AS JSON)",
    "json_array_length": "CASE WHEN json_valid({0}) AND json_type({0}) = 'ARRAY' THEN CAST(json_array_length({0}) AS INTEGER) END",
    "current_timestamp": "now()", "now": "now()", "current_date": "CAST(now() AS DATE)", "curdate": "CAST(now() AS DATE)",
    "uuid": "CAST(uuid() AS VARCHAR)",
}


def _one(inner: str, outer: str = "%") -> list[tuple[str, str]]:
    return [(inner, outer)]


_COLLECTED = "coalesce(list_filter(%, lambda aiq_e: aiq_e IS NOT NULL), [])"
AGGREGATES: dict[str, list[tuple[str, str]]] = {
    "count": _one("count({0})"), "count_if": _one("count_if({0})", "CAST(% AS BIGINT)"), "sum": _one("sum({0})"),
    "avg": _one("avg(@double({0}, {m}))"), "mean": _one("avg(@double({0}, {m}))"), "min": _one("min({0})"), "max": _one("max({0})"),
    "median": _one("median(@double({0}, {m}))"),
    **{each: _one(f"{each}(@double({{0}}, {{m}}))") for each in ("stddev", "stddev_samp", "stddev_pop", "variance",
                                                               "var_samp", "var_pop")},
    "std": _one("stddev(@double({0}, {m}))"),
    "bool_or": _one("bool_or({0})"), "some": _one("bool_or({0})"), "bool_and": _one("bool_and({0})"), "every": _one("bool_and({0})"),
    "row_number": _one("row_number()", "CAST(% AS INTEGER)"), "rank": _one("rank()", "CAST(% AS INTEGER)"),
    "dense_rank": _one("dense_rank()", "CAST(% AS INTEGER)"), "ntile": _one("ntile({0})", "CAST(% AS INTEGER)"),
    "percent_rank": _one("percent_rank()"), "cume_dist": _one("cume_dist()"),
    "lag": [("lag({0})", "%"), ("lag({0}, {1})", "%"), ("lag({0}, {1}, {2})", "%")],
    "lead": [("lead({0})", "%"), ("lead({0}, {1})", "%"), ("lead({0}, {1}, {2})", "%")],
    "first": _one("first({0})"), "last": _one("last({0})"), "any_value": _one("first({0})"),
    "first_value": _one("first({0})"), "last_value": _one("last({0})"),
    "max_by": _one("max_by({0}, {1})"), "min_by": _one("min_by({0}, {1})"),
    "collect_list": _one("list({0})", _COLLECTED), "array_agg": _one("list({0})", _COLLECTED),
    "collect_set": _one("list({0})", f"list_sort(list_distinct({_COLLECTED}))"),
    "percentile": _one("quantile_cont(@double({0}, {m}), {1})"),
    "bit_and": _one("bit_and({0})"), "bit_or": _one("bit_or({0})"), "bit_xor": _one("bit_xor({0})"),
    "string_agg": _one("string_agg({s0}, {1})"), "listagg": _one("string_agg({s0}, {1})"),
}
