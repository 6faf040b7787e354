-- Where ORDER BY has an expression, LIMIT is computed or DISTINCT ON picks rows, DuckDB computes the whole SELECT list first.
-- So rows are picked first, with the requests beside them. `ai1(x)` is a call of site 1.

-- case: ORDER BY an expression
SELECT id, ai1(body) AS a FROM t ORDER BY length(body) LIMIT 5
-- becomes
SELECT "id", ai1(__aiq_r1) AS "a"
FROM (SELECT id, body AS __aiq_r1, LENGTH(body) AS __aiq_s1
FROM t ORDER BY LENGTH(body) LIMIT 5) AS __aiq_limited
ORDER BY __aiq_s1

-- case: a computed LIMIT
SELECT id, ai1(body) AS a FROM t ORDER BY id LIMIT (SELECT 5)
-- becomes
SELECT "id", ai1(__aiq_r1) AS "a"
FROM (SELECT id, body AS __aiq_r1, id AS __aiq_s1
FROM t ORDER BY id LIMIT (SELECT 5)) AS __aiq_limited
ORDER BY __aiq_s1

-- case: sorting by a computed column
SELECT id + 1 AS n, ai1(body) AS a FROM t ORDER BY n DESC NULLS LAST LIMIT 5
-- becomes
SELECT "n", ai1(__aiq_r1) AS "a"
FROM (SELECT id + 1 AS n, body AS __aiq_r1, id + 1 AS __aiq_s1
FROM t ORDER BY n DESC LIMIT 5) AS __aiq_limited
ORDER BY __aiq_s1 DESC

-- case: the first row of each
SELECT DISTINCT ON (k) k, ai1(body) AS a FROM t ORDER BY k, at
-- becomes
SELECT "k", ai1(__aiq_r1) AS "a"
FROM (SELECT DISTINCT ON (k) k, body AS __aiq_r1, k AS __aiq_s1, "at" AS __aiq_s2
FROM t ORDER BY k, "at") AS __aiq_limited
ORDER BY __aiq_s1, __aiq_s2

-- case: a column beside the call
SELECT upper(ai1(body)) || name AS a FROM t ORDER BY length(body) LIMIT 5
-- becomes
SELECT UPPER(ai1(__aiq_r1)) || __aiq_r2 AS "a"
FROM (SELECT body AS __aiq_r1, name AS __aiq_r2, LENGTH(body) AS __aiq_s1
FROM t ORDER BY LENGTH(body) LIMIT 5) AS __aiq_limited
ORDER BY __aiq_s1

-- case: a nested call
SELECT ai1(ai2(body) || name) AS a FROM t ORDER BY length(body) LIMIT 5
-- becomes
SELECT ai1(ai2(__aiq_r1) || __aiq_r2) AS "a"
FROM (SELECT body AS __aiq_r1, name AS __aiq_r2, LENGTH(body) AS __aiq_s1
FROM t ORDER BY LENGTH(body) LIMIT 5) AS __aiq_limited
ORDER BY __aiq_s1

-- case: in a subquery
SELECT max(a) AS m FROM (SELECT ai1(body) AS a FROM t ORDER BY length(body) LIMIT 5) AS s
-- becomes
SELECT MAX(a) AS m
FROM (SELECT ai1(__aiq_r1) AS "a"
FROM (SELECT body AS __aiq_r1, LENGTH(body) AS __aiq_s1
FROM t ORDER BY LENGTH(body) LIMIT 5) AS __aiq_limited
ORDER BY __aiq_s1) AS s

-- case: sorted by plain columns, over a join
SELECT t.id, ai1(u.body) AS a FROM t, u WHERE t.k = u.k ORDER BY t.id LIMIT 5
-- becomes
SELECT "id", ai1(__aiq_r1) AS "a"
FROM (SELECT t.id, u.body AS __aiq_r1, t.id AS __aiq_s1
FROM t, u WHERE t.k = u.k ORDER BY t.id LIMIT 5) AS __aiq_limited
ORDER BY __aiq_s1

-- case: sorted by plain columns, beside a subquery
SELECT id, ai1(body) AS a FROM t WHERE k = (SELECT MIN(k) FROM u) ORDER BY id LIMIT 5
-- becomes
SELECT "id", ai1(__aiq_r1) AS "a"
FROM (SELECT id, body AS __aiq_r1, id AS __aiq_s1
FROM t WHERE k = (SELECT MIN(k) FROM u) ORDER BY id LIMIT 5) AS __aiq_limited
ORDER BY __aiq_s1

-- case: sorted by plain columns of one table: DuckDB does it by itself
SELECT id, ai1(body) AS a FROM t ORDER BY id LIMIT 5
-- stays

-- case: sorted by the answer
SELECT id, ai1(body) AS a FROM t ORDER BY length(a) LIMIT 5
-- stays

-- case: sorted by another call
SELECT id, ai1(body) AS a FROM t ORDER BY ai2(body) LIMIT 5
-- stays

-- case: filtered by a call
SELECT id, ai1(body) AS a FROM t WHERE ai2(body) = 'x' ORDER BY length(body) LIMIT 5
-- stays

-- case: no LIMIT
SELECT id, ai1(body) AS a FROM t ORDER BY length(body)
-- stays

-- case: every distinct answer is needed
SELECT DISTINCT ai1(body) AS a FROM t ORDER BY length(a) LIMIT 5
-- stays

-- case: a window over answers
SELECT max(ai1(body)) OVER () AS a FROM t ORDER BY length(body) LIMIT 5
-- stays

-- case: a star stands for columns nobody has named
SELECT *, ai1(body) AS a FROM t ORDER BY length(body) LIMIT 5
-- stays

-- case: a function that nobody here knows may be an aggregate
SELECT mean(length(ai1(body))) AS a FROM t ORDER BY length(k) LIMIT 5
-- stays

-- case: two columns of one name
SELECT id AS a, ai1(body) AS a FROM t ORDER BY length(body) LIMIT 5
-- stays
