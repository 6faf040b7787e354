-- Databricks' SQL and what DuckDB is given for it. Each case: a title, the statement, `-- becomes`, the result.

-- case: backticks
SELECT `a b` FROM `main`.`s`.`t`
-- becomes
SELECT "a b" FROM "main"."s"."t"

-- case: from_json takes a DDL schema in Databricks and a JSON structure in DuckDB
SELECT from_json(x, 'a INT, b ARRAY<STRING>') AS y FROM t
-- becomes
SELECT CAST(json_transform(CAST(aiq_spark_from_json(aiq_spark.joined(x), 'a INT, b ARRAY<STRING>') AS VARCHAR), '{"a": "INTEGER", "b": ["VARCHAR"]}') AS STRUCT("a" INTEGER, "b" VARCHAR[])) AS y FROM t

-- case: an AI call passes through
SELECT ai_query('chat', concat('a', b)) AS y FROM t LIMIT 3
-- becomes
SELECT ai_query('chat', ('a' || aiq_spark.piece(b, 'aiq: a BINARY, MAP or STRUCT as a piece of a text has no exact counterpart on DuckDB; CAST its values to the types you mean'))) AS y FROM t LIMIT 3
