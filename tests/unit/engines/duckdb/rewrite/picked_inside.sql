-- A subquery that picks rows is taken in two, as split.sql shows it: its calls are evaluated for the rows that it picks.
-- The names are in truth `__aiq_c1` and so on. `ai1(x)` is a call of site 1.

-- case: a derived table
SELECT count(a) AS n FROM (SELECT id, ai1(body) AS a FROM t ORDER BY id LIMIT 5) AS q
-- becomes
SELECT count(a) AS n FROM (SELECT c1 AS id, ai1(c3) AS a
FROM (SELECT id, NULL, body AS r1 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3)) AS q

-- case: one side of an outer join
SELECT u.id, q.a FROM u LEFT JOIN (SELECT id, ai1(body) AS a FROM t ORDER BY id LIMIT 5) AS q ON q.id = u.id ORDER BY u.id
-- becomes
SELECT u.id, q.a FROM (u LEFT JOIN (SELECT c1 AS id, ai1(c3) AS a
FROM (SELECT id, NULL, body AS r1 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3)) AS q ON ((q.id = u.id))) ORDER BY u.id

-- case: a CTE that is read twice
WITH w AS (SELECT id, ai1(body) AS a FROM t ORDER BY id LIMIT 5) SELECT one.id, other.a FROM w AS one JOIN w AS other USING (id) ORDER BY id
-- becomes
WITH w AS (SELECT c1 AS id, ai1(c3) AS a
FROM (SELECT id, NULL, body AS r1 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3)) SELECT one.id, other.a FROM (w AS one INNER JOIN w AS other USING (id)) ORDER BY id

-- case: a CTE that reads another
WITH v AS (SELECT * FROM t WHERE k > 1), w AS (SELECT id, ai1(body) AS a FROM v ORDER BY id LIMIT 5) SELECT count(a) AS n FROM w
-- becomes
WITH v AS (SELECT * FROM t WHERE (k > 1)), w AS (SELECT c1 AS id, ai1(c3) AS a
FROM (SELECT id, NULL, body AS r1 FROM v ORDER BY id LIMIT 5) AS picked(c1, c2, c3)) SELECT count(a) AS n FROM w

-- case: a CTE with CTEs of its own
WITH w AS (WITH v AS (SELECT * FROM t) SELECT id, ai1(body) AS a FROM v ORDER BY id LIMIT 5) SELECT count(a) AS n FROM w
-- becomes
WITH w AS (SELECT c1 AS id, ai1(c3) AS a
FROM (WITH v AS (SELECT * FROM t) SELECT id, NULL, body AS r1 FROM v ORDER BY id LIMIT 5) AS picked(c1, c2, c3)) SELECT count(a) AS n FROM w

-- case: IN
SELECT id FROM u WHERE kind IN (SELECT ai1(body) FROM t ORDER BY id LIMIT 3) ORDER BY id
-- becomes
SELECT id FROM u WHERE (kind = ANY(SELECT ai1(c2) AS "ai1(body)"
FROM (SELECT NULL, body AS r1 FROM t ORDER BY id LIMIT 3) AS picked(c1, c2))) ORDER BY id

-- case: a scalar
SELECT (SELECT ai1(body) FROM t ORDER BY id LIMIT 1) AS a
-- becomes
SELECT (SELECT ai1(c2) AS "ai1(body)"
FROM (SELECT NULL, body AS r1 FROM t ORDER BY id LIMIT 1) AS picked(c1, c2)) AS a

-- case: the first row of each
SELECT count(a) AS n FROM (SELECT DISTINCT ON (k) k, ai1(body) AS a FROM t ORDER BY k, id) AS q
-- becomes
SELECT count(a) AS n FROM (SELECT c1 AS k, ai1(c3) AS a
FROM (SELECT DISTINCT ON (k) k, NULL, body AS r1 FROM t ORDER BY k, id) AS picked(c1, c2, c3)) AS q

-- case: a part of a union
SELECT id, NULL AS a FROM u UNION (SELECT id, ai1(body) FROM t ORDER BY id LIMIT 3) ORDER BY ALL
-- becomes
(SELECT id, NULL AS a FROM u) UNION (SELECT c1 AS id, ai1(c3) AS "ai1(body)"
FROM (SELECT id, NULL, body AS r1 FROM t ORDER BY id LIMIT 3) AS picked(c1, c2, c3)) ORDER BY COLUMNS(*)

-- case: one in another
SELECT max(b) AS m FROM (SELECT a, ai2(a) AS b FROM (SELECT id, ai1(body) AS a FROM t ORDER BY id LIMIT 5) AS q ORDER BY q.id LIMIT 3) AS r
-- becomes
SELECT max(b) AS m FROM (SELECT c1 AS a, ai2(c3) AS b FROM (SELECT a, NULL, a AS r1 FROM (SELECT c1 AS id, ai1(c3) AS a
FROM (SELECT id, NULL, body AS r1 FROM t ORDER BY id LIMIT 5) AS picked(c1, c2, c3)) AS q ORDER BY q.id LIMIT 3) AS picked(c1, c2, c3)) AS r

-- case: it reads the query around it
SELECT id, (SELECT ai1(t.body) FROM t WHERE t.k = u.k ORDER BY t.id LIMIT 1) AS a FROM u ORDER BY id
-- stays

-- case: every distinct answer is needed
SELECT count(a) AS n FROM (SELECT DISTINCT ai1(body) AS a FROM t ORDER BY a LIMIT 5) AS q
-- stays

-- case: sorted by the answer
SELECT count(a) AS n FROM (SELECT id, ai1(body) AS a FROM t ORDER BY a, id LIMIT 5) AS q
-- stays

-- case: no row is dropped
SELECT count(a) AS n FROM (SELECT id, ai1(body) AS a FROM t ORDER BY id) AS q
-- stays

-- case: the query itself
SELECT id, ai1(body) AS a FROM t ORDER BY id LIMIT 5
-- stays
