-- Not every plan of DuckDB's moves a condition below a join with a LATERAL query that has no FROM of its own.
-- So its calls get a NULL request, which is not asked, where the condition drops the row. `ai1(x)` is a call of site 1.

-- case: LATERAL
SELECT i.id, l.r FROM t AS i, LATERAL (SELECT ai1(i.body) AS r) AS l WHERE i.id < 5 AND l.r = 'yes'
-- becomes
SELECT i.id, l.r FROM t AS i, LATERAL (SELECT ai1(CASE WHEN i.id < 5 THEN i.body END) AS r) AS l
WHERE i.id < 5 AND l.r = 'yes'

-- case: several conditions without a call
SELECT l.r FROM t, LATERAL (SELECT upper(ai1(body, photo)) AS r) AS l WHERE t.id < 5 AND NOT t.seen AND ai2(b) = 'x'
-- becomes
SELECT l.r FROM t, LATERAL (SELECT upper(ai1(CASE WHEN t.id < 5 AND NOT t.seen THEN body END, photo)) AS r) AS l
WHERE t.id < 5 AND NOT t.seen AND ai2(b) = 'x'

-- case: JOIN LATERAL
SELECT i.id, l.r FROM t AS i JOIN LATERAL (SELECT ai1(i.body) AS r) AS l ON TRUE WHERE i.id < 5
-- becomes
SELECT i.id, l.r FROM t AS i JOIN LATERAL (SELECT ai1(CASE WHEN i.id < 5 THEN i.body END) AS r) AS l ON TRUE
WHERE i.id < 5

-- case: LATERAL over a table of its own
SELECT i.id, l.r FROM t AS i, LATERAL (SELECT ai1(u.body) AS r FROM u WHERE u.k = i.id) AS l WHERE i.id < 5
-- stays

-- case: an outer join shows its left rows whatever the call says
SELECT i.id, l.r FROM t AS i LEFT JOIN LATERAL (SELECT ai1(i.body) AS r) AS l ON TRUE WHERE i.id < 5
-- stays

-- case: a condition on the answer
SELECT i.id, r FROM t AS i, LATERAL (SELECT ai1(i.body) AS r) AS l WHERE r = 'yes'
-- stays

-- case: a condition on the answer, by the name that the derived table gives it
SELECT i.id FROM t AS i, LATERAL (SELECT ai1(i.body) AS r) AS l(answer) WHERE answer = 'yes'
-- stays

-- case: a condition with a subquery
SELECT i.id, l.r FROM t AS i, LATERAL (SELECT ai1(i.body) AS r) AS l WHERE i.k IN (SELECT k FROM u)
-- stays

-- case: a call deeper in the lateral query, where the condition's names mean other columns
SELECT l.r FROM t, LATERAL (SELECT (SELECT max(ai1(z.body)) FROM t AS z WHERE z.id = t.k) AS r) AS l WHERE body = 'x'
-- stays

-- case: no condition
SELECT i.id, l.r FROM t AS i, LATERAL (SELECT ai1(i.body) AS r) AS l
-- stays
