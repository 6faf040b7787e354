-- The table that the expressions of this folder are over, in Databricks' SQL.
(SELECT * FROM VALUES
(1, 1, 10L, 1.5D, CAST(1.25 AS DECIMAL(10,2)), 'abc', TRUE, DATE '2024-03-15', TIMESTAMP '2024-03-15 10:20:30', array(1, 2, 3), array('x', 'y')),
(2, -7, 3000000000L, -0.0D, CAST(-100.00 AS DECIMAL(10,2)), '', FALSE, DATE '1999-12-31', TIMESTAMP '1999-12-31 23:59:59.123', array(5), array('é', NULL)),
(3, 2, -3L, 12345678.9D, CAST(0.05 AS DECIMAL(10,2)), '42', NULL, DATE '2024-02-29', TIMESTAMP '2024-07-01 00:00:00', CAST(array() AS ARRAY<INT>), CAST(NULL AS ARRAY<STRING>)),
(4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(5, 0, 0L, 1e-7D, CAST(0 AS DECIMAL(10,2)), ' Hello World ', TRUE, DATE '2024-12-30', TIMESTAMP '2024-12-30 12:00:00.5', array(0, NULL), array('a b'))
AS typed(id, i, l, d, n, s, b, dt, ts, a, w))
