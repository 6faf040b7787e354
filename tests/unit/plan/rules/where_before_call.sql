-- Not every DuckDB moves a condition below the projection of a derived table or into a LATERAL one.
-- So the rule does it. `ai1(x)` is a call of site 1.

-- case: IN goes into the derived table
SELECT id, r FROM (SELECT id, ai1(body) AS r FROM t) AS s WHERE id IN (SELECT item FROM u) AND r = 'yes'
-- becomes
SELECT id, r FROM (SELECT id, ai1(body) AS r FROM t WHERE id IN (SELECT item FROM u)) AS s WHERE r = 'yes'

-- case: NOT IN, the only condition, beside one of the derived table
SELECT r FROM (SELECT k AS id, ai1(body) AS r FROM t WHERE k > 5) AS s WHERE NOT s.id IN (SELECT item FROM u)
-- becomes
SELECT r FROM (SELECT k AS id, ai1(body) AS r FROM t WHERE k > 5 AND NOT k IN (SELECT item FROM u)) AS s

-- case: a query that looks at the row
SELECT r FROM (SELECT id, ai1(body) AS r FROM t) AS s WHERE id IN (SELECT item FROM u WHERE u.k = s.id)
-- stays

-- case: on the answer
SELECT id FROM (SELECT id, ai1(body) AS r FROM t) AS s WHERE r IN (SELECT item FROM u)
-- stays

-- case: a derived table that picks rows
SELECT r FROM (SELECT id, ai1(body) AS r FROM t LIMIT 5) AS s WHERE id IN (SELECT item FROM u)
-- stays

-- case: a computed column
SELECT r FROM (SELECT id + 1 AS id, ai1(body) AS r FROM t) AS s WHERE id IN (SELECT item FROM u)
-- stays

-- case: LATERAL
SELECT i.id, l.r FROM t AS i, LATERAL (SELECT ai1(i.body) AS r) AS l WHERE i.id < 5 AND l.r = 'yes'
-- becomes
SELECT i.id, l.r FROM t AS i, LATERAL (SELECT ai1(CASE WHEN i.id < 5 THEN i.body END) AS r) AS l
WHERE i.id < 5 AND l.r = 'yes'

-- case: LATERAL over a table of its own
SELECT i.id, l.r FROM t AS i, LATERAL (SELECT ai1(u.body) AS r FROM u WHERE u.k = i.id) AS l WHERE i.id < 5
-- stays

-- case: IN of a column of an outer query
SELECT (SELECT max(d.r) FROM (SELECT id, ai1(body) AS r FROM t) AS d WHERE a.id IN (SELECT item FROM u)) AS m FROM t AS a
-- stays

-- case: a derived table that renames its columns
SELECT r FROM (SELECT id, k, ai1(body) AS r FROM t) AS d(k, id, r) WHERE id IN (SELECT item FROM u)
-- stays

-- case: a call deeper in the lateral query, where the condition's names mean other columns
SELECT l.r FROM t, LATERAL (SELECT (SELECT max(ai1(z.body)) FROM t AS z WHERE z.id = t.k) AS r) AS l WHERE body = 'x'
-- stays
