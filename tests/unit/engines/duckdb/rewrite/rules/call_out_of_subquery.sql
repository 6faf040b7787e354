-- A correlated subquery is computed for every value of its inner table before the outer rows are known. Outside of it the
-- call sees only their rows. No row gives NULL, and a NULL request a NULL answer. `ai1(x)` is a call of site 1.

-- case: the call of a correlated subquery
SELECT t.id, (SELECT ai1(u.body) FROM u WHERE u.id = t.id) AS a FROM t
-- becomes
SELECT t.id, ai1((SELECT u.body FROM u WHERE u.id = t.id)) AS a FROM t

-- case: in a condition
SELECT id FROM t WHERE (SELECT ai1(u.body) FROM u WHERE u.id = t.id) = 'yes'
-- becomes
SELECT id FROM t WHERE ai1((SELECT u.body FROM u WHERE u.id = t.id)) = 'yes'

-- case: with a name of its own
SELECT (SELECT ai1(body) AS answer FROM u LIMIT 1) AS a FROM t
-- becomes
SELECT ai1((SELECT body FROM u LIMIT 1)) AS a FROM t

-- case: the last row, by columns
SELECT (SELECT ai1(body) FROM u WHERE u.k = t.k ORDER BY u.day DESC LIMIT 1) AS a FROM t
-- becomes
SELECT ai1((SELECT body FROM u WHERE u.k = t.k ORDER BY u.day DESC LIMIT 1)) AS a FROM t

-- case: a call around an aggregate
SELECT (SELECT ai1(max(body)) FROM u WHERE u.k = t.k) AS a FROM t
-- becomes
SELECT ai1((SELECT MAX(body) FROM u WHERE u.k = t.k)) AS a FROM t

-- case: more than the call
SELECT (SELECT upper(ai1(body)) FROM u LIMIT 1) AS a FROM t
-- stays

-- case: a call with files
SELECT (SELECT ai1(body, photo) FROM u LIMIT 1) AS a FROM t
-- stays

-- case: IN compares with many rows
SELECT id FROM t WHERE a IN (SELECT ai1(body) FROM u)
-- stays

-- case: EXISTS counts rows, also those with a NULL
SELECT id FROM t WHERE EXISTS (SELECT ai1(body) FROM u)
-- stays

-- case: ANY compares with many rows
SELECT id FROM t WHERE a = ANY (SELECT ai1(body) FROM u)
-- stays

-- case: an array of many rows
SELECT ARRAY(SELECT ai1(body) FROM u) AS a
-- stays

-- case: DISTINCT is of answers, not of requests
SELECT (SELECT DISTINCT ai1(body) FROM u WHERE u.id = t.id) AS a FROM t
-- stays

-- case: a position sorts by the answer
SELECT (SELECT ai1(body) FROM u ORDER BY 1 LIMIT 1) AS a FROM t
-- stays

-- case: ALL groups by what is selected
SELECT (SELECT ai1(body) FROM u WHERE u.id = t.id GROUP BY ALL) AS a FROM t
-- stays

-- case: a derived table has many rows
SELECT a FROM (SELECT ai1(body) AS a FROM u) AS s
-- stays

-- case: a subquery in a subquery
SELECT (SELECT ai1((SELECT ai2(s.body) FROM s WHERE s.id = u.id)) FROM u WHERE u.id = t.id) AS a FROM t
-- becomes
SELECT ai1((SELECT ai2((SELECT s.body FROM s WHERE s.id = u.id)) FROM u WHERE u.id = t.id)) AS a FROM t

-- case: a UNION has no one list
SELECT (SELECT ai1(body) FROM u WHERE u.id = t.id UNION SELECT ai1(body) FROM u WHERE u.id = t.id) AS a FROM t
-- stays
