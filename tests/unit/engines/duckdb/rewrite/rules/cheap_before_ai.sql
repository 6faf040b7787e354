-- DuckDB may evaluate both sides of AND and OR, in any order. A CASE over the cheap conditions comes first whatever it does.
-- Of two AI conditions the cheaper one comes first: here ai1 costs less than ai2. `ai1(x)` is a call of site 1.

-- case: a cheap condition guards the call
SELECT id FROM t WHERE ai1(body) = 'yes' AND id > 5
-- becomes
SELECT id FROM t WHERE id > 5 AND CASE WHEN id > 5 THEN ai1(body) = 'yes' END

-- case: two cheap conditions guard together
SELECT id FROM t WHERE id > 5 AND ai1(body) = 'yes' AND NOT seen
-- becomes
SELECT id FROM t WHERE id > 5 AND NOT seen
AND CASE WHEN id > 5 AND NOT seen THEN ai1(body) = 'yes' END

-- case: what is true already needs no answer
SELECT id FROM t WHERE ai1(body) = 'yes' OR id > 5
-- becomes
SELECT id FROM t WHERE CASE WHEN id > 5 THEN TRUE ELSE ai1(body) = 'yes' END

-- case: the cheaper model is asked first
SELECT id FROM t WHERE ai2(body) = 'yes' AND ai1(body) = 'yes'
-- becomes
SELECT id FROM t WHERE CASE WHEN ai1(body) = 'yes' THEN ai2(body) = 'yes' END

-- case: OR inside AND
SELECT id FROM t WHERE (ai1(body) = 'yes' OR seen) AND ok
-- becomes
SELECT id FROM t WHERE ok AND CASE WHEN ok THEN CASE WHEN seen THEN TRUE ELSE ai1(body) = 'yes' END END

-- case: HAVING
SELECT k FROM t GROUP BY k HAVING ai1(max(body)) = 'yes' AND count(*) > 2
-- becomes
SELECT k FROM t GROUP BY k HAVING COUNT(*) > 2
AND CASE WHEN COUNT(*) > 2 THEN ai1(MAX(body)) = 'yes' END

-- case: QUALIFY
SELECT k FROM t QUALIFY ai1(body) = 'yes' AND row_number() OVER (ORDER BY k) < 3
-- becomes
SELECT k FROM t QUALIFY ROW_NUMBER() OVER (ORDER BY k) < 3
AND CASE WHEN ROW_NUMBER() OVER (ORDER BY k) < 3 THEN ai1(body) = 'yes' END

-- case: a join's own condition comes before WHERE
SELECT t.id FROM t JOIN u ON t.id = u.id WHERE ai1(t.body) = 'yes'
-- becomes
SELECT t.id FROM t JOIN u ON t.id = u.id WHERE CASE WHEN t.id = u.id THEN ai1(t.body) = 'yes' END

-- case: USING
SELECT id FROM t JOIN u USING (id) WHERE ai1(t.body) = 'yes'
-- becomes
SELECT id FROM t JOIN u USING (id) WHERE CASE WHEN u.id IS NOT NULL THEN ai1(t.body) = 'yes' END

-- case: a condition of ON with a call
SELECT t.id FROM t JOIN u ON ai1(t.body) = u.kind AND t.id = u.id
-- becomes
SELECT t.id FROM t JOIN u ON t.id = u.id AND CASE WHEN t.id = u.id THEN ai1(t.body) = u.kind END

-- case: an outer join's condition holds not for every row
SELECT t.id FROM t LEFT JOIN u ON t.id = u.id WHERE ai1(t.body) = 'yes'
-- stays

-- case: under NOT and in SELECT, NULL is not false
SELECT ai1(body) = 'yes' AND id > 5 AS x FROM t
-- becomes
SELECT CASE WHEN NOT (id > 5) THEN FALSE ELSE id > 5 AND ai1(body) = 'yes' END AS x FROM t

-- case: OR in SELECT
SELECT ai1(body) = 'yes' OR id > 5 AS x FROM t
-- becomes
SELECT CASE WHEN id > 5 THEN TRUE ELSE id > 5 OR ai1(body) = 'yes' END AS x FROM t

-- case: nothing cheap to go first
SELECT id FROM t WHERE ai1(body) = 'yes'
-- stays

-- case: the more selective of two AI conditions first
SELECT a FROM t WHERE ai1(a) <> 'x' AND ai2(a) = 'y'
-- becomes
SELECT a FROM t WHERE CASE WHEN ai2(a) = 'y' THEN ai1(a) <> 'x' END

-- case: of an OR, the one that lets most pass
SELECT a FROM t WHERE ai1(a) = 'x' OR ai2(a) <> 'y'
-- becomes
SELECT a FROM t WHERE CASE WHEN ai2(a) <> 'y' THEN TRUE ELSE ai1(a) = 'x' END

-- case: an OR whose branches all have cheap conditions, which may be what joins the tables
SELECT t.id FROM t, u WHERE (t.id = u.id AND t.k < 5 AND ai1(t.body) = 'x') OR (t.id = u.id AND t.k > 9)
-- becomes
SELECT t.id FROM t, u WHERE ((t.id = u.id AND t.k < 5) OR (t.id = u.id AND t.k > 9))
AND CASE WHEN t.id = u.id AND t.k > 9 THEN TRUE
ELSE t.id = u.id AND t.k < 5 AND CASE WHEN t.id = u.id AND t.k < 5 THEN ai1(t.body) = 'x' END END

-- case: under NOT a filter's three values count, too
SELECT id FROM t WHERE NOT (ai1(body) = 'yes' AND id > 5)
-- becomes
SELECT id FROM t WHERE NOT CASE WHEN NOT id > 5 THEN FALSE ELSE id > 5 AND ai1(body) = 'yes' END

-- case: the cheap conditions of WHERE come before the call that two tables are joined by
SELECT t.id FROM t JOIN u ON ai1(t.body) = u.kind WHERE t.id > 5
-- becomes
SELECT t.id FROM t JOIN u ON CASE WHEN t.id > 5 THEN ai1(t.body) = u.kind END WHERE t.id > 5

-- case: SEMI JOIN
SELECT t.id FROM t SEMI JOIN u ON ai1(t.body) = u.kind AND t.id = u.id
-- becomes
SELECT t.id FROM t SEMI JOIN u ON t.id = u.id AND CASE WHEN t.id = u.id THEN ai1(t.body) = u.kind END

-- case: the condition of an outer join
SELECT t.id, u.id FROM t LEFT JOIN u ON ai1(t.body) = u.kind AND t.id = u.id
-- becomes
SELECT t.id, u.id FROM t LEFT JOIN u ON t.id = u.id AND CASE WHEN t.id = u.id THEN ai1(t.body) = u.kind END

-- case: in a subquery
SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE ai1(u.body) = 'yes' AND u.id = t.id)
-- becomes
SELECT id FROM t
WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id AND CASE WHEN u.id = t.id THEN ai1(u.body) = 'yes' END)

-- case: an AND with nothing cheap in SELECT
SELECT ai1(body) = 'yes' AND ai2(body) = 'yes' AS x FROM t
-- stays

-- case: a call that is no condition
SELECT ai1(body) AS x FROM t WHERE id > 5 AND seen
-- stays
