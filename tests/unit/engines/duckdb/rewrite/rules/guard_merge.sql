-- DuckDB computes what every WHEN of a MERGE would write for every row of the join.
-- So each value with a call is computed only where its WHEN is the one that is taken.

-- case: an update
MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = ai1(s.a), b = s.b
-- becomes
MERGE INTO t USING s ON t.id = s.id
WHEN MATCHED THEN UPDATE SET a = CASE WHEN (t.id = s.id) THEN CASE WHEN TRUE THEN (ai1(s.a)) END END, b = s.b

-- case: conditions, each after the ones before it
MERGE INTO t USING s ON t.id = s.id
WHEN MATCHED AND s.c > 1 THEN DELETE
WHEN MATCHED AND ai2(s.a) = 'x' THEN UPDATE SET a = ai1(s.a)
-- becomes
MERGE INTO t USING s ON t.id = s.id
WHEN MATCHED AND s.c > 1 THEN DELETE
WHEN MATCHED AND ai2(s.a) = 'x' THEN UPDATE SET
a = CASE WHEN (t.id = s.id) THEN CASE WHEN (s.c > 1) THEN NULL WHEN (ai2(s.a) = 'x') THEN (ai1(s.a)) END END

-- case: an insert
MERGE INTO t AS o USING (SELECT * FROM u) AS s ON o.id = s.id
WHEN NOT MATCHED AND s.c > 1 THEN INSERT (id, a) VALUES (s.id, ai1(s.a))
-- becomes
MERGE INTO t AS o USING (SELECT * FROM u) AS s ON o.id = s.id
WHEN NOT MATCHED AND s.c > 1 THEN INSERT (id, a) VALUES (s.id,
CASE WHEN NOT EXISTS (SELECT 1 FROM t AS o WHERE o.id = s.id) THEN CASE WHEN (s.c > 1) THEN (ai1(s.a)) END END)

-- case: an insert after one that takes some of its rows, and one after an update, which takes none
MERGE INTO t USING s ON t.id = s.id
WHEN MATCHED AND s.c > 2 THEN UPDATE SET a = 'old'
WHEN NOT MATCHED AND s.c > 1 THEN DO NOTHING
WHEN NOT MATCHED BY TARGET THEN INSERT (id, a) VALUES (s.id, 'new ' || ai1(s.a))
-- becomes
MERGE INTO t USING s ON t.id = s.id
WHEN MATCHED AND s.c > 2 THEN UPDATE SET a = 'old'
WHEN NOT MATCHED AND s.c > 1 THEN DO NOTHING
WHEN NOT MATCHED BY TARGET THEN INSERT (id, a) VALUES (s.id, CASE WHEN NOT EXISTS (SELECT 1 FROM t WHERE t.id = s.id)
THEN CASE WHEN (s.c > 1) THEN NULL WHEN TRUE THEN ('new ' || ai1(s.a)) END END)

-- case: rows that the source does not have
MERGE INTO t USING s ON t.id = s.id WHEN NOT MATCHED BY SOURCE THEN UPDATE SET a = ai1(t.a)
-- becomes
MERGE INTO t USING s ON t.id = s.id WHEN NOT MATCHED BY SOURCE THEN UPDATE SET
a = CASE WHEN NOT EXISTS (SELECT 1 FROM s WHERE t.id = s.id) THEN CASE WHEN TRUE THEN (ai1(t.a)) END END

-- case: rows that a source with calls does not have
MERGE INTO t USING (SELECT id, ai2(a) AS a FROM u) AS s ON t.id = s.id
WHEN NOT MATCHED BY SOURCE THEN UPDATE SET a = ai1(t.a)
-- stays

-- case: joined by the names of columns
MERGE INTO t USING s USING (id) WHEN MATCHED THEN UPDATE SET a = ai1(s.a)
-- stays

-- case: calls in the source only
MERGE INTO t USING (SELECT id, ai1(a) AS a FROM u) AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = s.a
-- stays

-- case: not a MERGE
UPDATE t SET a = ai1(a)
-- stays
