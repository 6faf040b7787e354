-- A query in two: rows that need no answer, which are computed once, and over them what is made of the answers.
-- Here both are shown as one query. The names are in truth `__aiq_c1` and so on. `ai1(x)` is a call of site 1.

-- case: the rows that are shown
SELECT id, ai1(body) AS a FROM t ORDER BY price, id LIMIT 5
-- becomes
SELECT c1 AS id, ai1(c3) AS a
FROM (SELECT id, NULL, body AS r1 FROM t ORDER BY price, id LIMIT 5) AS picked(c1, c2, c3)

-- case: sorted by an expression, a computed LIMIT
SELECT id, ai1(body) AS a FROM t ORDER BY length(body), id LIMIT (SELECT 5)
-- becomes
SELECT c1 AS id, ai1(c3) AS a
FROM (SELECT id, NULL, body AS r1 FROM t ORDER BY length(body), id LIMIT (SELECT 5)) AS picked(c1, c2, c3)

-- case: sorted by a computed column
SELECT id + 1 AS n, ai1(body) AS a FROM t ORDER BY n DESC NULLS LAST LIMIT 5
-- becomes
SELECT c1 AS n, ai1(c3) AS a
FROM (SELECT (id + 1) AS n, NULL, body AS r1 FROM t ORDER BY n DESC NULLS LAST LIMIT 5) AS picked(c1, c2, c3)

-- case: sorted by a position: the columns keep theirs
SELECT ai1(body) AS a, id FROM t ORDER BY 2 LIMIT 5
-- becomes
SELECT ai1(c3) AS a, c2 AS id
FROM (SELECT NULL, id, body AS r1 FROM t ORDER BY 2 LIMIT 5) AS picked(c1, c2, c3)

-- case: no ORDER BY
SELECT id, ai1(body) AS a FROM t
-- becomes
SELECT c1 AS id, ai1(c3) AS a
FROM (SELECT id, NULL, body AS r1 FROM t) AS picked(c1, c2, c3)

-- case: the first row of each
SELECT DISTINCT ON (k) k, ai1(body) AS a FROM t ORDER BY k, day, id
-- becomes
SELECT c1 AS k, ai1(c3) AS a
FROM (SELECT DISTINCT ON (k) k, NULL, body AS r1 FROM t ORDER BY k, "day", id) AS picked(c1, c2, c3)

-- case: what is made of an answer and of a column
SELECT upper(ai1(body)) || name AS a FROM t ORDER BY id LIMIT 5
-- becomes
SELECT (upper(ai1(c2)) || c3) AS a
FROM (SELECT NULL, body AS r1, "name" AS r2 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3)

-- case: a nested call
SELECT ai1(ai2(body) || name) AS a FROM t ORDER BY id LIMIT 5
-- becomes
SELECT ai1((ai2(c2) || c3)) AS a
FROM (SELECT NULL, body AS r1, "name" AS r2 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3)

-- case: one call in two columns
SELECT id, ai1(body) AS a, upper(ai1(body)) AS b FROM t ORDER BY id LIMIT 5
-- becomes
SELECT c1 AS id, ai1(c4) AS a, upper(ai1(c4)) AS b
FROM (SELECT id, NULL, NULL, body AS r1 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3, c4)

-- case: a column that is read by its alias
SELECT id, ai1(body) AS r, upper(r) AS b FROM t ORDER BY id LIMIT 5
-- becomes
SELECT c1 AS id, ai1(c4) AS r, upper(ai1(c4)) AS b
FROM (SELECT id, NULL, NULL, body AS r1 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3, c4)

-- case: an alias that is also a column, which comes first
SELECT id, ai1(body) AS body, upper(body) AS u FROM t ORDER BY id LIMIT 3
-- becomes
SELECT c1 AS id, ai1(c4) AS body, c3 AS u
FROM (SELECT id, NULL, upper(body) AS u, body AS r1 FROM t ORDER BY id LIMIT 3) AS picked(c1, c2, c3, c4)

-- case: a column without a name keeps that of DuckDB
SELECT id, length(ai1(body)) FROM t ORDER BY id LIMIT 3
-- becomes
SELECT c1 AS id, length(ai1(c3)) AS "length(ai1(body))"
FROM (SELECT id, NULL, body AS r1 FROM t ORDER BY id LIMIT 3) AS picked(c1, c2, c3)

-- case: a call with files
SELECT id, ai1(body, photo) AS a FROM t ORDER BY id LIMIT 5
-- becomes
SELECT c1 AS id, ai1(c3, c4) AS a
FROM (SELECT id, NULL, body AS r1, photo AS r2 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3, c4)

-- case: a star stands for its columns
SELECT x.*, ai1(body) AS a FROM (SELECT id, k, body FROM t) AS x ORDER BY id LIMIT 5
-- becomes
SELECT c1 AS id, c2 AS k, c3 AS body, ai1(c5) AS a
FROM (SELECT x.*, NULL, body AS r1 FROM (SELECT id, k, body FROM t) AS x ORDER BY id LIMIT 5) AS picked(c1, c2, c3, c4, c5)

-- case: columns by a pattern
SELECT columns('i.*'), ai1(body) AS a FROM t ORDER BY id LIMIT 5
-- becomes
SELECT c1 AS id, c2 AS price, c3 AS kind, ai1(c5) AS a
FROM (SELECT COLUMNS('i.*'), NULL, body AS r1 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3, c4, c5)

-- case: over a join
SELECT t.id, ai1(u.body) AS a FROM t, u WHERE t.k = u.k ORDER BY t.id, u.id LIMIT 5
-- becomes
SELECT c1 AS id, ai1(c3) AS a
FROM (SELECT t.id, NULL, u.body AS r1 FROM t , u WHERE (t.k = u.k) ORDER BY t.id, u.id LIMIT 5) AS picked(c1, c2, c3)

-- case: a CTE
WITH w AS (SELECT * FROM t WHERE k > 1) SELECT id, ai1(body) AS a FROM w ORDER BY id LIMIT 5
-- becomes
SELECT c1 AS id, ai1(c3) AS a
FROM (WITH w AS (SELECT * FROM t WHERE (k > 1)) SELECT id, NULL, body AS r1 FROM w ORDER BY id LIMIT 5) AS picked(c1, c2, c3)

-- case: a request that is made of an aggregate is made once
SELECT k, ai1(string_agg(body, ',' ORDER BY id)) AS a FROM t GROUP BY k ORDER BY count(*) DESC, k LIMIT 2
-- becomes
SELECT c1 AS k, ai1(c3) AS a
FROM (SELECT k, NULL, string_agg(body, ',' ORDER BY id) AS r1 FROM t GROUP BY k ORDER BY count_star() DESC, k LIMIT 2) AS picked(c1, c2, c3)

-- case: what is grouped by
SELECT k + 1 AS n, ai1((k + 1)::VARCHAR) AS a FROM t GROUP BY k + 1 ORDER BY n LIMIT 3
-- becomes
SELECT c1 AS n, ai1(CAST(c3 AS VARCHAR)) AS a
FROM (SELECT (k + 1) AS n, NULL, (k + 1) AS r1 FROM t GROUP BY (k + 1) ORDER BY n LIMIT 3) AS picked(c1, c2, c3)

-- case: GROUP BY ALL
SELECT k, ai1(max(body)) AS a FROM t GROUP BY ALL ORDER BY k LIMIT 2
-- becomes
SELECT c1 AS k, ai1(c3) AS a
FROM (SELECT k, NULL, max(body) AS r1 FROM t GROUP BY ALL ORDER BY k LIMIT 2) AS picked(c1, c2, c3)

-- case: a request that is made of a window
SELECT id, ai1(body || row_number() OVER (ORDER BY id)) AS a FROM t ORDER BY id LIMIT 3
-- becomes
SELECT c1 AS id, ai1((c3 || c4)) AS a
FROM (SELECT id, NULL, body AS r1, row_number() OVER (ORDER BY id) AS r2 FROM t ORDER BY id LIMIT 3) AS picked(c1, c2, c3, c4)

-- case: an aggregate of answers is one of the rows
SELECT max(ai1(body)) AS a FROM t
-- becomes
SELECT c2 AS a
FROM (SELECT NULL, max(ai1(body)) AS r1 FROM t) AS picked(c1, c2)

-- case: a request that is made of a subquery
SELECT id, ai1((SELECT max(body) FROM u WHERE u.k = t.k)) AS a FROM t ORDER BY id LIMIT 5
-- becomes
SELECT c1 AS id, ai1(c3) AS a
FROM (SELECT id, NULL, (SELECT max(body) FROM u WHERE (u.k = t.k)) AS r1 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3)

-- case: branches stay branches
SELECT id, CASE WHEN seen THEN ai1(body) ELSE name END AS a FROM t ORDER BY id LIMIT 5
-- becomes
SELECT c1 AS id, CASE WHEN (c3) THEN (ai1(c4)) ELSE c5 END AS a
FROM (SELECT id, NULL, seen AS r1, body AS r2, "name" AS r3 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3, c4, c5)

-- case: COALESCE
SELECT id, coalesce(ai1(body), upper(name)) AS a FROM t ORDER BY id LIMIT 5
-- becomes
SELECT c1 AS id, COALESCE(ai1(c3), upper(c4)) AS a
FROM (SELECT id, NULL, body AS r1, "name" AS r2 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3, c4)

-- case: unnest
SELECT id, unnest([1, 2]) AS n, ai1(body) AS a FROM t ORDER BY id, n LIMIT 5
-- becomes
SELECT c1 AS id, c2 AS n, ai1(c4) AS a
FROM (SELECT id, unnest(list_value(1, 2)) AS n, NULL, body AS r1 FROM t ORDER BY id, n LIMIT 5) AS picked(c1, c2, c3, c4)

-- case: a filter with a call is one of the rows
SELECT id, ai1(body) AS a FROM t WHERE ai2(body) = 'x' ORDER BY id LIMIT 5
-- becomes
SELECT c1 AS id, ai1(c3) AS a
FROM (SELECT id, NULL, body AS r1 FROM t WHERE (ai2(body) = 'x') ORDER BY id LIMIT 5) AS picked(c1, c2, c3)

-- case: a field of a struct
SELECT id, ai1(st.q) AS a, st.p FROM t ORDER BY id LIMIT 5
-- becomes
SELECT c1 AS id, ai1(c4) AS a, c3 AS p
FROM (SELECT id, NULL, st.p, st.q AS r1 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3, c4)

-- case: lists and structs of answers
SELECT {'a': ai1(body), 'b': name} AS a, [ai1(body), kind] AS l FROM t ORDER BY id LIMIT 5
-- becomes
SELECT struct_pack(a := ai1(c3), b := c4) AS a, list_value(ai1(c3), c5) AS l
FROM (SELECT NULL, NULL, body AS r1, "name" AS r2, kind AS r3 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3, c4, c5)

-- case: a function of DuckDB's that is a macro
SELECT id, nullif(ai1(body), 'x') AS a, if(ok, ai1(body), name) AS b FROM t ORDER BY id LIMIT 5
-- becomes
SELECT c1 AS id, nullif(ai1(c4), 'x') AS a, if(c5, ai1(c4), c6) AS b
FROM (SELECT id, NULL, NULL, body AS r1, ok AS r2, "name" AS r3 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3, c4, c5, c6)

-- case: sorted by the answer
SELECT id, ai1(body) AS a FROM t ORDER BY a, id LIMIT 5
-- stays

-- case: sorted by the answer, in an expression
SELECT id, ai1(body) AS a2 FROM t ORDER BY length(a2), id LIMIT 5
-- stays

-- case: sorted by the answer's position
SELECT id, ai1(body) AS a FROM t ORDER BY 2, 1 LIMIT 5
-- stays

-- case: sorted by all columns
SELECT id, ai1(body) AS a FROM t ORDER BY ALL LIMIT 5
-- stays

-- case: sorted by another call
SELECT id, ai1(body) AS a FROM t ORDER BY ai2(body), id LIMIT 5
-- becomes
SELECT c1 AS id, ai1(c3) AS a
FROM (SELECT id, NULL, body AS r1 FROM t ORDER BY ai2(body), id LIMIT 5) AS picked(c1, c2, c3)

-- case: sorted by the answer of one of two calls
SELECT ai1(body) AS a, ai2(body) AS b FROM t ORDER BY b DESC, id LIMIT 5
-- becomes
SELECT ai1(c3) AS a, ai2(c3) AS b
FROM (SELECT NULL, NULL, body AS r1 FROM t ORDER BY ai2(body) DESC, id LIMIT 5) AS picked(c1, c2, c3)

-- case: sorted by the position of one of two calls
SELECT ai1(body) AS a, ai2(body) AS b FROM t ORDER BY 2, id LIMIT 5
-- becomes
SELECT ai1(c3) AS a, ai2(c3) AS b
FROM (SELECT NULL, NULL, body AS r1 FROM t ORDER BY ai2(body), id LIMIT 5) AS picked(c1, c2, c3)

-- case: sorted by both of two answers
SELECT ai1(body) AS a, ai2(body) AS b FROM t ORDER BY b, a LIMIT 5
-- stays

-- case: sorted by an answer whose request has another item's name
SELECT id || 'x' AS body, ai1(t.body) AS a, ai2(body) AS b FROM t ORDER BY b, id LIMIT 5
-- becomes
SELECT c1 AS body, ai1(c4) AS a, ai2(c5) AS b FROM (SELECT id || 'x' AS body, NULL, NULL, t.body AS r1, body AS r2 FROM t ORDER BY ai2(t.body), id LIMIT 5) AS picked(c1, c2, c3, c4, c5)

-- case: sorted by an answer called as its request, with a collation
SELECT id, ai1(id || body) AS a, ai2(body) AS body FROM t ORDER BY body COLLATE NOCASE, id LIMIT 5
-- becomes
SELECT c1 AS id, ai1(c4 || c5) AS a, ai2(c5) AS body FROM (SELECT id, NULL, NULL, id AS r1, body AS r2 FROM t ORDER BY ai2(t.body) COLLATE NOCASE, id LIMIT 5) AS picked(c1, c2, c3, c4, c5)

-- case: filtered by the answer, by its alias
SELECT id, ai1(body) AS r FROM t WHERE r = 'x' ORDER BY id LIMIT 5
-- stays

-- case: grouped by the answer
SELECT ai1(body) AS r, count(*) AS n FROM t GROUP BY r ORDER BY n, 1 LIMIT 5
-- stays

-- case: grouped by the answer's position
SELECT ai1(body) AS r, count(*) AS n FROM t GROUP BY 1 ORDER BY n, 1 LIMIT 5
-- stays

-- case: every distinct answer is needed
SELECT DISTINCT ai1(body) AS a FROM t ORDER BY a LIMIT 5
-- stays

-- case: a call in a lambda
SELECT id, list_transform([body], lambda z: ai1(z)) AS a FROM t ORDER BY id LIMIT 5
-- stays

-- case: a call on whatever a star stands for
SELECT ai1(columns('b.*')) FROM t ORDER BY id LIMIT 5
-- stays

-- case: no call in the SELECT list
SELECT id FROM t WHERE ai1(body) = 'x' ORDER BY id LIMIT 5
-- stays
