-- Calls of a derived table, or of a CTE that is read once, move to where its columns are read, so that what picks rows there
-- decides on them. A column that is no answer's keeps its name; `c3` and `r1` are in truth `__aiq_c3` and `__aiq_r1`.
-- `ai1(x)` is a call of site 1.

-- case: LIMIT
SELECT * FROM (SELECT id, k, ai1(body) AS a FROM t) AS q ORDER BY k, id LIMIT 5
-- becomes
SELECT q.id AS id, q.k AS k, ai1(q.c4) AS a
FROM (SELECT id, k, NULL, body AS r1 FROM t) AS q(id, k, c3, c4) ORDER BY k, id LIMIT 5

-- case: a filter on the answer
SELECT id FROM (SELECT id, k, ai1(body) AS a FROM t) AS q WHERE a = 'x' ORDER BY id LIMIT 2
-- becomes
SELECT id AS id
FROM (SELECT id, k, NULL, body AS r1 FROM t) AS q(id, k, c3, c4) WHERE (ai1(q.c4) = 'x') ORDER BY id LIMIT 2

-- case: IN of a query
SELECT q.a, q.id FROM (SELECT id, k, ai1(body) AS a FROM t) AS q WHERE id IN (SELECT k FROM u) ORDER BY id
-- becomes
SELECT ai1(q.c4) AS a, q.id AS id
FROM (SELECT id, k, NULL, body AS r1 FROM t) AS q(id, k, c3, c4) WHERE (id = ANY(SELECT k FROM u)) ORDER BY id

-- case: a CTE that is read once
WITH w(i, r) AS (SELECT id, ai1(body) FROM t) SELECT i, r || 'z' AS z FROM w ORDER BY i LIMIT 3
-- becomes
SELECT i AS i, (ai1(w.c3) || 'z') AS z
FROM (SELECT id, NULL, body AS r1 FROM t) AS w(i, c2, c3) ORDER BY i LIMIT 3

-- case: a CTE that reads another
WITH v AS (SELECT * FROM t), w AS (SELECT id, ai1(body) AS a FROM v) SELECT id, a FROM w ORDER BY id LIMIT 3
-- becomes
WITH v AS (SELECT * FROM t) SELECT id AS id, ai1(w.c3) AS a
FROM (SELECT id, NULL, body AS r1 FROM v) AS w(id, c2, c3) ORDER BY id LIMIT 3

-- case: other names for the columns
SELECT x, a FROM (SELECT id, ai1(body) AS a FROM t) AS q(x) WHERE a IS NOT NULL ORDER BY x LIMIT 4
-- becomes
SELECT x AS x, ai1(q.c3) AS a
FROM (SELECT id, NULL, body AS r1 FROM t) AS q(x, c2, c3) WHERE (ai1(q.c3) IS NOT NULL) ORDER BY x LIMIT 4

-- case: a derived table of a derived table
SELECT id, a FROM (SELECT id, ai1(body) AS a FROM (SELECT id, ai2(body) AS body FROM t) AS r) AS q ORDER BY id LIMIT 3
-- becomes
SELECT id AS id, ai1(ai2(q.c3)) AS a
FROM (SELECT id AS id, NULL, r.c3 AS r1 FROM (SELECT id, NULL, body AS r1 FROM t) AS r(id, c2, c3)) AS q(id, c2, c3) ORDER BY id LIMIT 3

-- case: a derived table that picks rows itself
SELECT id, a FROM (SELECT id, ai1(body) AS a FROM t ORDER BY id LIMIT 7) AS q ORDER BY id DESC LIMIT 3
-- becomes
SELECT id AS id, ai1(q.c3) AS a
FROM (SELECT id, NULL, body AS r1 FROM t ORDER BY id LIMIT 7) AS q(id, c2, c3) ORDER BY id DESC LIMIT 3

-- case: groups inside
SELECT k, m FROM (SELECT k, ai1(max(body)) AS m FROM t GROUP BY k) AS q ORDER BY k LIMIT 2
-- becomes
SELECT k AS k, ai1(q.c3) AS m
FROM (SELECT k, NULL, max(body) AS r1 FROM t GROUP BY k) AS q(k, c2, c3) ORDER BY k LIMIT 2

-- case: groups outside
SELECT a, count(*) AS n FROM (SELECT id, k, ai1(body) AS a FROM t) AS q GROUP BY a HAVING a <> 'x' ORDER BY n, a LIMIT 3
-- becomes
SELECT ai1(q.c4) AS a, count_star() AS n
FROM (SELECT id, k, NULL, body AS r1 FROM t) AS q(id, k, c3, c4) GROUP BY ai1(q.c4) HAVING (ai1(q.c4) != 'x') ORDER BY n, a LIMIT 3

-- case: a window
SELECT id, lag(a) OVER (ORDER BY id) AS l FROM (SELECT id, k, ai1(body) AS a FROM t) AS q ORDER BY id LIMIT 3
-- becomes
SELECT id AS id, lag(ai1(q.c4)) OVER (ORDER BY id) AS l
FROM (SELECT id, k, NULL, body AS r1 FROM t) AS q(id, k, c3, c4) ORDER BY id LIMIT 3

-- case: a field of a struct
SELECT s.a.p AS p FROM (SELECT id, {'p': ai1(body)} AS a FROM t) AS s ORDER BY id LIMIT 3
-- becomes
SELECT struct_extract(struct_pack(p := ai1(s.c3)), 'p') AS p
FROM (SELECT id, NULL, body AS r1 FROM t) AS s(id, c2, c3) ORDER BY id LIMIT 3

-- case: an inner join
SELECT * FROM (SELECT id, k, ai1(body) AS a FROM t) AS q JOIN (SELECT id AS i, b FROM u) AS v ON q.id = v.i ORDER BY q.id LIMIT 3
-- becomes
SELECT q.id AS id, q.k AS k, ai1(q.c4) AS a, v.*
FROM ((SELECT id, k, NULL, body AS r1 FROM t) AS q(id, k, c3, c4) INNER JOIN (SELECT id AS i, b FROM u) AS v ON ((q.id = v.i))) ORDER BY q.id LIMIT 3

-- case: the side of an outer join that is kept
SELECT q.id, u.k, q.a FROM (SELECT id, k, ai1(body) AS a FROM t) AS q LEFT JOIN u ON q.id = u.id ORDER BY q.id LIMIT 3
-- becomes
SELECT q.id AS id, u.k AS k, ai1(q.c4) AS a
FROM ((SELECT id, k, NULL, body AS r1 FROM t) AS q(id, k, c3, c4) LEFT JOIN u ON ((q.id = u.id))) ORDER BY q.id LIMIT 3

-- case: a join on the answer
SELECT q.id, q.a FROM (SELECT id, k, ai1(body) AS a FROM t) AS q SEMI JOIN u ON q.a = u.body ORDER BY q.id LIMIT 3
-- becomes
SELECT q.id AS id, ai1(q.c4) AS a
FROM ((SELECT id, k, NULL, body AS r1 FROM t) AS q(id, k, c3, c4) SEMI JOIN u ON ((ai1(q.c4) = u.body))) ORDER BY q.id LIMIT 3

-- case: an alias that is also a column: ORDER BY means the alias
SELECT -id AS id, a FROM (SELECT id, k, ai1(body) AS a FROM t) AS q ORDER BY id LIMIT 3
-- becomes
SELECT (-(id)) AS id, ai1(q.c4) AS a
FROM (SELECT id, k, NULL, body AS r1 FROM t) AS q(id, k, c3, c4) ORDER BY id LIMIT 3

-- case: the side of an outer join that may be NULL
SELECT q.id, u.k, q.a FROM u LEFT JOIN (SELECT id, k, ai1(body) AS a FROM t) AS q ON q.id = u.id ORDER BY u.id LIMIT 3
-- becomes
SELECT q.id AS id, u.k AS k, CASE WHEN ((q.c5 IS NOT NULL)) THEN (ai1(q.c4)) ELSE NULL END AS a
FROM (u LEFT JOIN (SELECT id, k, NULL, body AS r1, true FROM t) AS q(id, k, c3, c4, c5) ON ((q.id = u.id))) ORDER BY u.id LIMIT 3

-- case: a row that is read as one value
SELECT q::VARCHAR AS r FROM (SELECT id, k, ai1(body) AS a FROM t) AS q ORDER BY id LIMIT 3
-- becomes
SELECT CAST(struct_pack(id := q.id, k := q.k, a := ai1(q.c4)) AS VARCHAR) AS r
FROM (SELECT id, k, NULL, body AS r1 FROM t) AS q(id, k, c3, c4) ORDER BY id LIMIT 3

-- case: every column, read beside the SELECT list
SELECT id FROM (SELECT id, k, ai1(body) AS a FROM t) AS q ORDER BY COLUMNS(*) LIMIT 3
-- stays

-- case: USING
SELECT id, a FROM (SELECT id, k, ai1(body) AS a FROM t) AS q JOIN (SELECT id FROM u) AS v USING (id) ORDER BY id LIMIT 3
-- becomes
SELECT id AS id, ai1(q.c4) AS a
FROM ((SELECT id, k, NULL, body AS r1 FROM t) AS q(id, k, c3, c4) INNER JOIN (SELECT id FROM u) AS v USING (id)) ORDER BY id LIMIT 3

-- case: USING the answer
SELECT id, a FROM (SELECT id, k, ai1(body) AS a FROM t) AS q JOIN (SELECT kind AS a FROM u) AS v USING (a) ORDER BY id LIMIT 3
-- stays

-- case: a CTE that nothing reads
WITH w AS (SELECT id, ai1(body) AS a FROM t) SELECT id FROM u ORDER BY id LIMIT 3
-- becomes
SELECT id FROM u ORDER BY id LIMIT 3

-- case: a CTE that only one reads that nothing reads
WITH v AS (SELECT id, ai1(body) AS a FROM t), w AS (SELECT upper(a) AS b FROM v) SELECT id FROM u ORDER BY id LIMIT 3
-- becomes
SELECT id FROM u ORDER BY id LIMIT 3

-- case: a CTE that nothing reads and that asks nothing
WITH w AS (SELECT id FROM t), v AS (SELECT id, ai1(body) AS a FROM t) SELECT id FROM v WHERE a = 'x' ORDER BY id LIMIT 3
-- becomes
WITH w AS (SELECT id FROM t) SELECT id AS id
FROM (SELECT id, NULL, body AS r1 FROM t) AS v(id, c2, c3) WHERE (ai1(v.c3) = 'x') ORDER BY id LIMIT 3

-- case: a CTE that is read by a derived table
WITH v AS (SELECT id, ai1(body) AS a FROM t), w AS (SELECT id, upper(a) AS b FROM v) SELECT id, b FROM (SELECT * FROM w) AS q ORDER BY id LIMIT 3
-- becomes
SELECT id AS id, upper(ai1(q.c3)) AS b
FROM (SELECT w.id AS id, NULL, w.c3 AS r1
FROM (SELECT id AS id, NULL, v.c3 AS r1
FROM (SELECT id, NULL, body AS r1 FROM t) AS v(id, c2, c3)) AS w(id, c2, c3)) AS q(id, c2, c3) ORDER BY id LIMIT 3

-- case: a CTE that is read twice
WITH w AS (SELECT id, ai1(body) AS a FROM t) SELECT id, a FROM w WHERE id IN (SELECT id FROM w) ORDER BY id LIMIT 3
-- stays

-- case: a star without some columns
SELECT * EXCLUDE (a) FROM (SELECT id, k, ai1(body) AS a FROM t) AS q ORDER BY id LIMIT 3
-- becomes
SELECT q.id AS id, q.k AS k FROM (SELECT id, k, NULL, body AS r1 FROM t) AS q(id, k, c3, c4) ORDER BY id LIMIT 3

-- case: a star with other values and names
SELECT q.* REPLACE (a || '!' AS a) RENAME (k AS z) FROM (SELECT id, k, ai1(body) AS a FROM t) AS q ORDER BY id LIMIT 3
-- becomes
SELECT q.id AS id, q.k AS z, (ai1(q.c4) || '!') AS a
FROM (SELECT id, k, NULL, body AS r1 FROM t) AS q(id, k, c3, c4) ORDER BY id LIMIT 3

-- case: a derived table with distinct rows
SELECT id, a FROM (SELECT DISTINCT id, ai1(body) AS a FROM t) AS q ORDER BY id LIMIT 4
-- stays

-- case: no call
SELECT id FROM (SELECT id, k FROM t) AS q WHERE k = 1 ORDER BY id LIMIT 3
-- stays
