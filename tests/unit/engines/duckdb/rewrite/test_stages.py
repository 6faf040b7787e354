"""In which stages the calls of a statement are asked. `ai1(x)` stands for the call of site 1."""

from __future__ import annotations

import pytest

from aiq.engines.duckdb.rewrite.stages import stages
from tests.unit.engines.duckdb.rewrite.cases import query


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT a FROM t", []),
        ("SELECT ai1(a) FROM t", [{1}]),
        ("SELECT ai1(a), ai2(b) FROM t", [{1, 2}]),
        ("SELECT ai1(ai2(a)) FROM t", [{2}, {1}]),
        ("SELECT ai1(ai2(ai3(a))), ai4(b) FROM t", [{3, 4}, {2}, {1}]),
        ("SELECT ai1(ai2(a) || ai3(b)) FROM t", [{2, 3}, {1}]),
        ("SELECT ai1(a) || ai2(b), upper(ai3(c)) FROM t", [{1, 2, 3}]),
        ("SELECT ai1(a) FROM t WHERE ai2(b) = 'x'", [{2}, {1}]),
        ("SELECT ai1(a) FROM t WHERE ai2(b) = 'x' AND ai3(b) = 'y'", [{2}, {3}, {1}]),
        ("SELECT ai1(a) FROM t WHERE ai2(b) = 'x' OR ai3(b) = 'y'", [{2}, {3}, {1}]),
        ("SELECT ai1(a) FROM t WHERE ai2(b) = ai3(b)", [{2, 3}, {1}]),
        ("SELECT ai1(k) FROM t GROUP BY k HAVING ai2(k) = 'x'", [{2}, {1}]),
        ("SELECT count(*) FROM t WHERE ai1(a) = 'x' GROUP BY ai2(a) HAVING ai3(max(b)) = 'y'", [{1}, {2}, {3}]),
        ("SELECT ai1(a) FROM t QUALIFY ai2(a) = 'x'", [{2}, {1}]),
        ("SELECT ai1(a) FROM t ORDER BY ai2(a) LIMIT 3", [{2}, {1}]),
        ("SELECT CASE WHEN ai1(a) = 'x' THEN ai2(a) ELSE ai3(a) END FROM t", [{1}, {2}, {3}]),
        ("SELECT CASE ai1(a) WHEN 'x' THEN ai2(a) WHEN ai3(b) THEN 'z' END FROM t", [{1}, {2}, {1, 3}]),
        ("SELECT CASE WHEN a THEN ai1(a) ELSE ai2(a) END, ai3(b) FROM t", [{1, 3}, {2}]),
        ("SELECT if(ai1(a) = 'x', ai2(a), ai3(a)) FROM t", [{1}, {2, 3}]),
        ("SELECT coalesce(ai1(a), ai2(a), ai3(a)) FROM t", [{1}, {2}, {3}]),
        ("SELECT ai1(a) FROM t JOIN u ON ai2(t.a) = u.k", [{2}, {1}]),
        ("SELECT ai1(a) FROM t JOIN u ON ai2(t.a) = u.k JOIN v ON ai3(t.a) = v.k", [{2}, {3}, {1}]),
        ("SELECT ai1(s.a) FROM (SELECT ai2(a) AS a FROM t) AS s", [{2}, {1}]),
        ("WITH c AS (SELECT ai1(a) AS a FROM t) SELECT ai2(a) FROM c WHERE ai3(a) = 'x'", [{1}, {3}, {2}]),
        ("WITH c AS (SELECT ai1(a) AS a FROM t), d AS (SELECT ai2(a) FROM c) SELECT * FROM d", [{1}, {2}]),
        ("SELECT ai1(a) FROM t UNION ALL SELECT ai2(a) FROM u", [{1, 2}]),
        ("SELECT ai1(a) FROM t WHERE k IN (SELECT ai2(b) FROM u)", [{2}, {1}]),
        ("SELECT ai1(a) FROM t WHERE EXISTS (SELECT 1 FROM u WHERE ai2(u.a) = t.a)", [{2}, {1}]),
        ("SELECT max(ai1(a)) FILTER (WHERE ai2(a) = 'x') FROM t", [{1, 2}]),
        ("SELECT ai1(a) AS r, ai2(count(*)) FROM t GROUP BY r", [{1}, {1, 2}]),
        ("SELECT ai1(a) AS r, ai2(count(*)) FROM t GROUP BY 1", [{1}, {1, 2}]),
        ("SELECT ai1(a) AS r, ai2(count(*)) FROM t GROUP BY ALL", [{1}, {1, 2}]),
        ("SELECT ai1(a) AS r, ai2(k) FROM t GROUP BY 2, 1", [{1, 2}, {1, 2}]),
        ("SELECT ai1(a) AS r, ai2(count(*)) FROM t WHERE ai3(b) = 'x' GROUP BY r", [{3}, {1}, {1, 2}]),
        ("SELECT ai1(a) AS r, ai2(b) FROM t WHERE r IS NULL", [{1}, {1, 2}]),
        ("SELECT ai1(a) AS r, ai2(b) FROM t WHERE R = 'x' AND ai3(b) = 'y'", [{1}, {3}, {1, 2}]),
        ("SELECT ai1(max(a)) AS r, ai2(max(b)) FROM t GROUP BY k HAVING r IS NULL", [{1}, {1, 2}]),
        ("SELECT ai1(a) AS r, ai2(b) FROM t QUALIFY row_number() OVER (PARTITION BY r) = 1", [{1}, {1, 2}]),
        ("SELECT ai1(a) AS r, CASE WHEN r = 'x' THEN ai2(b) END FROM t", [{1}, {2}]),
        ("SELECT ai1(a) AS r, ai2(r) AS s, ai3(s) FROM t", [{1}, {2}, {3}]),
        ("SELECT ai1(a) AS r, ai2(r || b) AS s, k FROM t WHERE s = 'x'", [{1}, {2}, {1}, {2}]),
        ("SELECT ai1(a) AS r, upper(r), ai2(b) FROM t", [{1, 2}]),
        ("SELECT ai1(a) AS a, ai2(a) FROM t WHERE a = 'x'", [{1, 2}]),
        ("SELECT ai1(a) AS r, ai2(t.r) FROM t WHERE t.r = 'x'", [{1, 2}]),
        ("SELECT ai1(a) AS r, count(*) FROM t GROUP BY r", [{1}]),
        ("SELECT ai1(a) AS r, ai2(b) FROM t ORDER BY r", [{1, 2}]),
        ("SELECT ai1(a), ai1(b) FROM t", [{1}]),
        ("SELECT ai1(ai1(a)) FROM t", [{1}, {1}]),
    ],
)
def test_calls_are_asked_in_stages(text: str, expected: list[set[int]]) -> None:
    assert stages(query(text).node) == expected
