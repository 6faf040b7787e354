-- An aggregate's argument is computed for every row and filtered afterwards, so the request becomes NULL, which is
-- not asked, wherever FILTER drops the row. `ai1(x)` is a call of site 1.

-- case: the request is guarded by the filter
SELECT max(ai1(body)) FILTER (WHERE id > 5) AS m FROM t
-- becomes
SELECT MAX(ai1(CASE WHEN id > 5 THEN body END)) FILTER(WHERE id > 5) AS m FROM t

-- case: each aggregate has its own guard
SELECT max(ai1(a)) FILTER (WHERE seen) AS m, max(ai2(a)) FILTER (WHERE ok) AS n FROM t
-- becomes
SELECT MAX(ai1(CASE WHEN seen THEN a END)) FILTER(WHERE seen) AS m, MAX(ai2(CASE WHEN ok THEN a END)) FILTER(WHERE ok) AS n
FROM t

-- case: a call in a larger argument
SELECT sum(length(ai1(body)) + 1) FILTER (WHERE id > 5) AS m FROM t
-- becomes
SELECT SUM(LENGTH(ai1(CASE WHEN id > 5 THEN body END)) + 1) FILTER(WHERE id > 5) AS m FROM t

-- case: other arguments of the call stay
SELECT max(ai1(body, photo)) FILTER (WHERE id > 5) AS m FROM t
-- becomes
SELECT MAX(ai1(CASE WHEN id > 5 THEN body END, photo)) FILTER(WHERE id > 5) AS m FROM t

-- case: a call in the filter itself
SELECT count(*) FILTER (WHERE ai1(body) = 'yes') AS n FROM t
-- stays

-- case: no filter
SELECT max(ai1(body)) AS m FROM t
-- stays

-- case: a window's filter
SELECT id, max(ai1(body)) FILTER (WHERE id > 5) OVER (PARTITION BY k) AS m FROM t
-- becomes
SELECT id, max(ai1(CASE WHEN id > 5 THEN body END)) FILTER (WHERE id > 5) OVER (PARTITION BY k) AS m FROM t
