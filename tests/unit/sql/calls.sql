-- What becomes of a statement: every ai_query call is replaced where it stands, all other text stays as it is.
-- In these cases a call becomes «its arguments, separated by |». Each case: a title, the statement, `-- becomes`,
-- the result.

-- case: a call
SELECT ai_query('chat', body) FROM t
-- becomes
SELECT «'chat' | body» AS "ai_query('chat', body)" FROM t

-- case: a call with an alias keeps it
SELECT id, ai_query('chat', body) AS answer, ai_query('chat', x) y FROM t
-- becomes
SELECT id, «'chat' | body» AS answer, «'chat' | x» y FROM t

-- case: named arguments, in both spellings of the arrow
SELECT ai_query('chat', body, returnType => 'INT', failOnError := false) AS a
-- becomes
SELECT «'chat' | body | returnType='INT' | failOnError=false» AS a

-- case: upper case, line breaks and spaces before the parenthesis
SELECT AI_QUERY (
  'chat',
  body
) AS a
-- becomes
SELECT «'chat' | body» AS a

-- case: commas inside parentheses, brackets and braces do not separate arguments
SELECT ai_query('chat', concat(a, b[1, 2]), modelParameters => {'stop': ['a', 'b'], 'n': (1)}) AS a
-- becomes
SELECT «'chat' | concat(a, b[1, 2]) | modelParameters={'stop': ['a', 'b'], 'n': (1)}» AS a

-- case: parentheses and commas in strings are text
SELECT ai_query('chat', 'a) , (b ''quoted'' ' || x) AS a
-- becomes
SELECT «'chat' | 'a) , (b ''quoted'' ' || x» AS a

-- case: dollar quotes are text, too
SELECT ai_query('chat', $$it's ai_query('x', y), isn't it$$) AS a, $t$ ) $t$ AS b
-- becomes
SELECT «'chat' | $$it's ai_query('x', y), isn't it$$» AS a, $t$ ) $t$ AS b

-- case: a call in a string or in a comment is no call
SELECT 'ai_query(1, 2)' AS a, /* ai_query(3, 4) */ b FROM t -- ai_query(5, 6)
-- becomes
SELECT 'ai_query(1, 2)' AS a, /* ai_query(3, 4) */ b FROM t -- ai_query(5, 6)

-- case: comments between the arguments
SELECT ai_query('chat', /* the text, or ) */ body -- to the end, of the line
  || x) AS a
-- becomes
SELECT «'chat' | body -- to the end, of the line
  || x» AS a

-- case: a column that is called ai_query
SELECT ai_query, t.ai_query, "ai_query" FROM t
-- becomes
SELECT ai_query, t.ai_query, "ai_query" FROM t

-- case: a function of that name in a schema is somebody else's
SELECT mine.ai_query('chat', body) FROM t
-- becomes
SELECT mine.ai_query('chat', body) FROM t

-- case: a quoted identifier is the same function
SELECT "ai_query"('chat', body) AS a
-- becomes
SELECT «'chat' | body» AS a

-- case: a call in a call
SELECT ai_query('second', ai_query('first', body)) AS a
-- becomes
SELECT «'second' | «'first' | body»» AS a

-- case: a column that is called as it was written, whatever is in it
SELECT DISTINCT ai_query('chat', "a ""b"), 1
-- becomes
SELECT DISTINCT «'chat' | "a ""b"» AS "ai_query('chat', ""a """"b"")", 1

-- case: in an expression it names no column
SELECT upper(ai_query('chat', a)), ai_query('chat', b) || '!', 1 + ai_query('chat', c) FROM t
-- becomes
SELECT upper(«'chat' | a»), «'chat' | b» || '!', 1 + «'chat' | c» FROM t

-- case: in a filter, a grouping, an order it names no column
SELECT 1 FROM t WHERE ai_query('chat', a) = 'x' GROUP BY 1, ai_query('chat', b) HAVING ai_query('chat', c) ORDER BY ai_query('chat', d), ai_query('chat', e) LIMIT 1
-- becomes
SELECT 1 FROM t WHERE «'chat' | a» = 'x' GROUP BY 1, «'chat' | b» HAVING «'chat' | c» ORDER BY «'chat' | d», «'chat' | e» LIMIT 1

-- case: in a subquery it is a column of that subquery
WITH c AS (SELECT ai_query('chat', a) FROM t) SELECT *, (SELECT ai_query('chat', b)) FROM c UNION ALL SELECT ai_query('chat', d), 1
-- becomes
WITH c AS (SELECT «'chat' | a» AS "ai_query('chat', a)" FROM t) SELECT *, (SELECT «'chat' | b» AS "ai_query('chat', b)") FROM c UNION ALL SELECT «'chat' | d» AS "ai_query('chat', d)", 1

-- case: letters beyond ASCII do not move it
SELECT 'é😀' AS "ü", ai_query('chat', 'ß' || ö) AS a -- 漢
-- becomes
SELECT 'é😀' AS "ü", «'chat' | 'ß' || ö» AS a -- 漢

-- case: parameters are arguments like others
SELECT ai_query($endpoint, ? || $1) AS a
-- becomes
SELECT «$endpoint | ? || $1» AS a

-- case: no arguments is for the function itself to refuse
SELECT ai_query() AS a
-- becomes
SELECT «» AS a
