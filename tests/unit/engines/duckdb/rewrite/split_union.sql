-- The rows of a UNION ALL are computed once, each with the number of its part; over them stands what is made of the answers
-- of its part. The names are in truth `__aiq_c1` and so on. `ai1(x)` is a call of site 1.

-- case: the rows that are shown
SELECT id, ai1(body) AS a FROM t UNION ALL SELECT id, 'none' FROM u ORDER BY id LIMIT 5
-- becomes
SELECT c1 AS id, CASE WHEN ((c3 = 0)) THEN (ai1(c4)) ELSE c2 END AS a
FROM ((SELECT c1 AS id, NULL AS a, 0 AS part, c3 AS r1 FROM (SELECT id, NULL, body AS r1 FROM t) AS part(c1, c2, c3))
UNION ALL (SELECT c1 AS id, c2 AS a, 1 AS part, NULL AS r1 FROM (SELECT id, 'none' FROM u) AS part(c1, c2)) ORDER BY id LIMIT 5) AS picked(c1, c2, c3, c4)

-- case: calls in both parts, at other places
SELECT ai1(body) AS a, ai2(name) AS b FROM t UNION ALL SELECT 'x', ai2(body) FROM u
-- becomes
SELECT CASE WHEN ((c3 = 0)) THEN (ai1(c4)) ELSE c1 END AS a, CASE WHEN ((c3 = 0)) THEN (ai2(c5)) WHEN ((c3 = 1)) THEN (ai2(c6)) ELSE c2 END AS b
FROM ((SELECT NULL AS a, NULL AS b, 0 AS part, c3 AS r1, c4 AS r2, NULL AS r3 FROM (SELECT NULL, NULL, body AS r1, "name" AS r2 FROM t) AS part(c1, c2, c3, c4))
UNION ALL (SELECT c1 AS a, NULL AS b, 1 AS part, NULL AS r1, NULL AS r2, c3 AS r3 FROM (SELECT 'x', NULL, body AS r1 FROM u) AS part(c1, c2, c3))) AS picked(c1, c2, c3, c4, c5, c6)

-- case: three parts
SELECT id, ai1(body || name) AS a FROM t UNION ALL SELECT id, ai2(name) FROM u UNION ALL SELECT id, photo FROM s
-- becomes
SELECT c1 AS id, CASE WHEN ((c3 = 0)) THEN (ai1((c4 || c5))) WHEN ((c3 = 1)) THEN (ai2(c6)) ELSE c2 END AS a
FROM ((SELECT c1 AS id, NULL AS a, 0 AS part, c3 AS r1, c4 AS r2, NULL AS r3 FROM (SELECT id, NULL, body AS r1, "name" AS r2 FROM t) AS part(c1, c2, c3, c4))
UNION ALL (SELECT c1 AS id, NULL AS a, 1 AS part, NULL AS r1, NULL AS r2, c3 AS r3 FROM (SELECT id, NULL, "name" AS r1 FROM u) AS part(c1, c2, c3))
UNION ALL (SELECT c1 AS id, c2 AS a, 2 AS part, NULL AS r1, NULL AS r2, NULL AS r3 FROM (SELECT id, photo FROM s) AS part(c1, c2))) AS picked(c1, c2, c3, c4, c5, c6)

-- case: parts with a LIMIT of their own
(SELECT id, ai1(body) AS a FROM t ORDER BY id LIMIT 3) UNION ALL (SELECT id, 'none' FROM u ORDER BY id LIMIT 2)
-- becomes
SELECT c1 AS id, CASE WHEN ((c3 = 0)) THEN (ai1(c4)) ELSE c2 END AS a
FROM ((SELECT c1 AS id, NULL AS a, 0 AS part, c3 AS r1 FROM (SELECT id, NULL, body AS r1 FROM t ORDER BY id LIMIT 3) AS part(c1, c2, c3))
UNION ALL (SELECT c1 AS id, c2 AS a, 1 AS part, NULL AS r1 FROM (SELECT id, 'none' FROM u ORDER BY id LIMIT 2) AS part(c1, c2))) AS picked(c1, c2, c3, c4)

-- case: a CTE
WITH w AS (SELECT * FROM t WHERE k > 1) SELECT id, ai1(body) AS a FROM w UNION ALL SELECT id, name FROM w
-- becomes
SELECT c1 AS id, CASE WHEN ((c3 = 0)) THEN (ai1(c4)) ELSE c2 END AS a
FROM (WITH w AS (SELECT * FROM t WHERE (k > 1)) (SELECT c1 AS id, NULL AS a, 0 AS part, c3 AS r1 FROM (SELECT id, NULL, body AS r1 FROM w) AS part(c1, c2, c3))
UNION ALL (SELECT c1 AS id, c2 AS a, 1 AS part, NULL AS r1 FROM (SELECT id, "name" FROM w) AS part(c1, c2))) AS picked(c1, c2, c3, c4)

-- case: a part with groups
SELECT k, ai1(max(body)) AS a FROM t GROUP BY k UNION ALL SELECT id, 'none' FROM u ORDER BY k, 1
-- becomes
SELECT c1 AS k, CASE WHEN ((c3 = 0)) THEN (ai1(c4)) ELSE c2 END AS a
FROM ((SELECT c1 AS k, NULL AS a, 0 AS part, c3 AS r1 FROM (SELECT k, NULL, max(body) AS r1 FROM t GROUP BY k) AS part(c1, c2, c3))
UNION ALL (SELECT c1 AS k, c2 AS a, 1 AS part, NULL AS r1 FROM (SELECT id, 'none' FROM u) AS part(c1, c2)) ORDER BY k, 1) AS picked(c1, c2, c3, c4)

-- case: other types
SELECT length(ai1(body)) AS a, k FROM t UNION ALL SELECT 2.5, c FROM u
-- becomes
SELECT CASE WHEN ((c3 = 0)) THEN (length(ai1(c4))) ELSE c1 END AS a, c2 AS k
FROM ((SELECT NULL AS a, c2 AS k, 0 AS part, c3 AS r1 FROM (SELECT NULL, k, body AS r1 FROM t) AS part(c1, c2, c3))
UNION ALL (SELECT c1 AS a, c2 AS k, 1 AS part, NULL AS r1 FROM (SELECT 2.5, c FROM u) AS part(c1, c2))) AS picked(c1, c2, c3, c4)

-- case: VALUES
SELECT id, ai1(body) AS a FROM t UNION ALL VALUES (1, 'x')
-- becomes
SELECT c1 AS id, CASE WHEN ((c3 = 0)) THEN (ai1(c4)) ELSE c2 END AS a
FROM ((SELECT c1 AS id, NULL AS a, 0 AS part, c3 AS r1 FROM (SELECT id, NULL, body AS r1 FROM t) AS part(c1, c2, c3))
UNION ALL (SELECT c1 AS id, c2 AS a, 1 AS part, NULL AS r1 FROM (VALUES (1, 'x')) AS part(c1, c2))) AS picked(c1, c2, c3, c4)

-- case: sorted by other columns
SELECT id, ai1(body) AS a, id AS b FROM t UNION ALL SELECT id, 'n', k FROM u ORDER BY b + id, 1, 3
-- becomes
SELECT c1 AS id, CASE WHEN ((c4 = 0)) THEN (ai1(c5)) ELSE c2 END AS a, c3 AS b
FROM ((SELECT c1 AS id, NULL AS a, c3 AS b, 0 AS part, c4 AS r1 FROM (SELECT id, NULL, id AS b, body AS r1 FROM t) AS part(c1, c2, c3, c4))
UNION ALL (SELECT c1 AS id, c2 AS a, c3 AS b, 1 AS part, NULL AS r1 FROM (SELECT id, 'n', k FROM u) AS part(c1, c2, c3)) ORDER BY (b + id), 1, 3) AS picked(c1, c2, c3, c4, c5)

-- case: a filter with a call
SELECT id, ai1(body) AS a FROM t WHERE ai2(name) = 'x' UNION ALL SELECT id, 'none' FROM u
-- becomes
SELECT c1 AS id, CASE WHEN ((c3 = 0)) THEN (ai1(c4)) ELSE c2 END AS a
FROM ((SELECT c1 AS id, NULL AS a, 0 AS part, c3 AS r1 FROM (SELECT id, NULL, body AS r1 FROM t WHERE (ai2("name") = 'x')) AS part(c1, c2, c3))
UNION ALL (SELECT c1 AS id, c2 AS a, 1 AS part, NULL AS r1 FROM (SELECT id, 'none' FROM u) AS part(c1, c2))) AS picked(c1, c2, c3, c4)

-- case: sorted by the answer
SELECT id, ai1(body) AS a FROM t UNION ALL SELECT id, 'none' FROM u ORDER BY id, a LIMIT 5
-- stays

-- case: sorted by the answer's position
SELECT id, ai1(body) AS a FROM t UNION ALL SELECT id, 'none' FROM u ORDER BY 2, 1 LIMIT 5
-- stays

-- case: sorted by all columns
SELECT id, ai1(body) AS a FROM t UNION ALL SELECT id, 'none' FROM u ORDER BY ALL
-- stays

-- case: UNION compares answers
SELECT id, ai1(body) AS a FROM t UNION SELECT id, 'none' FROM u ORDER BY ALL
-- stays

-- case: EXCEPT compares answers
SELECT id, ai1(body) AS a FROM t EXCEPT ALL SELECT id, 'none' FROM u ORDER BY ALL
-- stays

-- case: BY NAME
SELECT id, ai1(body) AS a FROM t UNION ALL BY NAME SELECT 'none' AS a, id FROM u
-- stays

-- case: an answer that is grouped by
SELECT ai1(body) AS a, count(*) AS n FROM t GROUP BY 1 UNION ALL SELECT 'none', id FROM u ORDER BY ALL
-- stays

-- case: no call in a SELECT list
SELECT id FROM t WHERE ai1(body) = 'x' UNION ALL SELECT id FROM u
-- stays
