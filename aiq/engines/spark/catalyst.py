"""Catalyst, Spark's optimizer, from Python: reads its plans and builds new ones out of their parts.

Knows Spark's classes by name and nothing of AI calls. The only module that constructs Spark's own objects; it needs a
classic session, because Spark Connect shows nobody its plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import DataType

Node = Any
"""A plan or an expression of the JVM."""

_EXPRESSION = "org.apache.spark.sql.catalyst.expressions.Expression"
_SEQUENCE = "scala.collection.immutable.Seq"
_SUBQUERY = "org.apache.spark.sql.catalyst.expressions.SubqueryExpression"


class Catalyst:
    """Plans and expressions of one session."""

    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark
        jvm: Any = spark._jvm
        self._jvm = jvm
        self._session: Any = spark._jsparkSession
        catalyst = self._jvm.org.apache.spark.sql.catalyst
        self._expressions, self._logical, self._plans = catalyst.expressions, catalyst.plans.logical, catalyst.plans
        self._classes: dict[str, Any] = {}
        self._classic = self._jvm.org.apache.spark.sql.classic

    # Reading

    def parsed(self, text: str) -> Node:
        """A statement as it is written, with nothing looked up. Raises Spark's ParseException."""
        return self._session.sessionState().sqlParser().parsePlan(text)

    def is_command(self, plan: Node) -> bool:
        """Whether running a parsed statement does more than to give rows."""
        logical = "org.apache.spark.sql.catalyst.plans.logical"
        return self.is_instance(plan, f"{logical}.Command") or self.is_instance(plan, f"{logical}.ParsedStatement")

    def optimized(self, frame: DataFrame) -> Node:
        """What Spark has made of a query before it chooses how to run it."""
        return frame._jdf.queryExecution().optimizedPlan()

    def kind(self, node: Node) -> str:
        """The name of a node's class."""
        return str(node.getClass().getSimpleName()).rstrip("$")

    def items(self, sequence: Any) -> list[Any]:
        """A Scala sequence as a list."""
        return [sequence.apply(i) for i in range(sequence.size())]

    def children(self, node: Node) -> list[Node]:
        return self.items(node.children())

    def output(self, plan: Node) -> list[Node]:
        """The columns of a plan's rows."""
        return self.items(plan.output())

    def id(self, named: Node) -> int:
        """What makes a column the same column throughout a plan."""
        return int(named.exprId().id())

    def words(self, expression: Node) -> str:
        """A text that tells expressions apart: as SQL, which quotes literals but does not number columns, and as plan
        text, which numbers columns, but neither quotes literals nor writes long lists to their end.
        """
        return f"{expression.sql()} {expression.toString()} {sorted(self.references(expression))}"

    def references(self, expression: Node) -> set[int]:
        """The columns that an expression names."""
        return {self.id(attribute) for attribute in self.items(expression.references().toSeq())}

    def all_references(self, expressions: Iterable[Node]) -> set[int]:
        """The columns that any of some expressions names."""
        return set().union(*map(self.references, expressions))

    def type(self, expression: Node) -> DataType:
        """The type of an expression's value."""
        from pyspark.sql.types import _parse_datatype_json_string

        return _parse_datatype_json_string(expression.dataType().json())

    def field(self, node: Node, name: str) -> int | None:
        """The position of one of a node's fields; None where it has none of this name."""
        names = [str(node.productElementName(i)) for i in range(node.productArity())]
        return names.index(name) if name in names else None

    def value_of(self, node: Node, name: str) -> Any:
        """The value of a node's field. Raises KeyError where it has none of this name."""
        position = self.field(node, name)
        if position is None:
            raise KeyError(f"{self.kind(node)} has no {name}")
        return node.productElement(position)

    def optional(self, option: Any) -> Any:
        """What a Scala Option holds, or None."""
        return option.get() if option.isDefined() else None

    def outermost_alias(self, plan: Node) -> Node | None:
        """The name that a table or a subquery has for those who read it."""
        while self.kind(plan) == "WithCTE":
            plan = self.children(plan)[-1]
        return plan if self.kind(plan) == "SubqueryAlias" else None

    def conjuncts(self, condition: Node) -> list[Node]:
        """The conditions that an AND, however nested, is made of."""
        if self.kind(condition) != "And":
            return [condition]
        return [part for child in self.children(condition) for part in self.conjuncts(child)]

    def has_python(self, plan: Node) -> bool:
        """Whether a Python function is called in a plan, at any depth."""
        pattern = self._jvm.org.apache.spark.sql.catalyst.trees.TreePattern
        return bool(plan.containsPattern(pattern.EVAL_PYTHON_UDF()))

    def calls_python(self, plan: Node) -> bool:
        """Whether a plan that is not optimized yet, or a subquery of it, calls a Python function."""
        pattern = self._jvm.org.apache.spark.sql.catalyst.trees.TreePattern
        return bool(plan.containsPattern(pattern.PYTHON_UDF()))

    def has_subquery(self, plan: Node) -> bool:
        """Whether expressions of a plan hold a query of their own."""
        pattern = self._jvm.org.apache.spark.sql.catalyst.trees.TreePattern
        return bool(plan.containsPattern(pattern.PLAN_EXPRESSION()))

    def unaliased(self, item: Node) -> Node:
        """What a named expression computes."""
        return self.children(item)[0] if self.kind(item) == "Alias" else item

    def named(self, argument: Node) -> tuple[str | None, Node]:
        """An argument of a function, with its name where it was given by name."""
        if self.kind(argument) == "NamedArgumentExpression":
            return str(argument.key()), self.children(argument)[0]
        return None, argument

    def value(self, constant: Node) -> Any:
        """The value of a constant expression, structs as dicts. Raises Spark's errors where it depends on a row."""
        rows = self.spark.range(1).select(self.column(constant).alias("value")).collect()
        return rows[0].asDict(recursive=True)["value"]

    def rows_of(self, limits: Sequence[Node]) -> int:
        """The rows that LIMIT and OFFSET nodes need from below."""
        return max(int(str(limit.expressions().head().toString())) for limit in limits)

    def any(self, expression: Node, test: Callable[[Node], bool]) -> bool:
        """Whether a node, or one below it, passes a test."""
        return test(expression) or any(self.any(child, test) for child in self.children(expression))

    # Building

    def some(self, value: Any) -> Any:
        """A Scala Option that holds a value."""
        return self._jvm.scala.Some(value)

    def when(self, condition: Node, expression: Node) -> Node:
        """`CASE WHEN condition THEN expression END`, whose type is looked up later."""
        pair = self._jvm.scala.Tuple2(condition, expression)
        return self._expressions.CaseWhen(self.seq([pair]), self._jvm.scala.Option.empty())

    def seq(self, items: Iterable[Any]) -> Any:
        """A Scala sequence."""
        return self._jvm.org.apache.spark.api.python.PythonUtils.toSeq(list(items))

    def with_children(self, node: Node, children: Sequence[Node]) -> Node:
        return node.withNewChildren(self.seq(children))

    def with_fields(self, node: Node, fields: Mapping[int, Any]) -> Node:
        """A copy of a node with some of its fields replaced."""
        values = self._jvm.java.util.ArrayList()
        for i in range(node.productArity()):
            values.add(fields.get(i, node.productElement(i)))
        return node.makeCopy(values.toArray())

    def with_named(self, node: Node, **fields: Any) -> Node:
        """A copy of a node with some of its fields replaced, by their names."""
        positions = {self.field(node, name): value for name, value in fields.items()}
        assert None not in positions
        return self.with_fields(
            node, {position: value for position, value in positions.items() if position is not None}
        )

    def expression(self, text: str) -> Node:
        """An expression as it is written, with nothing looked up."""
        return self._session.sessionState().sqlParser().parseExpression(text)

    def with_condition(self, join: Node, condition: Node | None) -> Node:
        """A join by another condition."""
        some = self._jvm.scala.Option.empty() if condition is None else self._jvm.scala.Some(condition)
        position = self.field(join, "condition")
        assert position is not None
        return self.with_fields(join, {position: some})

    def with_subqueries(self, plan: Node, function: Callable[[Node], Node]) -> Node:
        """A node whose own expressions have `function` applied to the plans of their subqueries with Python calls."""
        made = {}
        for i in range(plan.productArity()):
            value = plan.productElement(i)
            if self.is_instance(value, _EXPRESSION):
                new = self._with_subqueries(value, function)
            elif self.is_instance(value, _SEQUENCE) or self.is_instance(value, "scala.Some"):
                old = self.items(value.toSeq() if self.is_instance(value, _SEQUENCE) else value.toList())
                if not all(self.is_instance(each, _EXPRESSION) for each in old):
                    continue
                found = [self._with_subqueries(each, function) for each in old]
                if all(a is b for a, b in zip(old, found, strict=True)):
                    continue
                some = self.is_instance(value, "scala.Some")
                new = self._jvm.scala.Some(found[0]) if some else self.seq(found)
            else:
                continue
            if new is not value:
                made[i] = new
        return self.with_fields(plan, made) if made else plan

    def _with_subqueries(self, expression: Node, function: Callable[[Node], Node]) -> Node:
        if self.is_instance(expression, _SUBQUERY):
            return expression.withNewPlan(function(expression.plan())) if self.has_python(expression) else expression
        old = self.children(expression)
        new = [self._with_subqueries(child, function) for child in old]
        return expression if all(a is b for a, b in zip(old, new, strict=True)) else self.with_children(expression, new)

    def is_instance(self, value: Any, name: str) -> bool:
        """Whether something is an object of the JVM of a class, or below it."""
        if not hasattr(value, "getClass"):
            return False
        if name not in self._classes:
            loader = self._jvm.java.lang.Thread.currentThread().getContextClassLoader()
            self._classes[name] = self._jvm.java.lang.Class.forName(name, False, loader)
        return bool(self._classes[name].isInstance(value))

    def sorted(self, order: Sequence[Node], plan: Node) -> Node:
        """All rows of a plan in an order."""
        none = self._jvm.scala.Option.empty()
        return self._logical.Sort(self.seq(order), True, plan, none)

    def substituted(self, expression: Node, meanings: Mapping[int, Node]) -> Node:
        """An expression in which columns stand for other expressions, by the column's id."""
        if not meanings or not self.references(expression) & meanings.keys():
            return expression
        if self.kind(expression) == "AttributeReference":
            return meanings[self.id(expression)]
        return self.with_children(
            expression, [self.substituted(child, meanings) for child in self.children(expression)]
        )

    def alias(self, expression: Node, named: Node) -> Node:
        """An expression under the name and id of a column."""
        none, empty = self._jvm.scala.Option.empty(), self.seq([])
        return self._expressions.Alias(expression, named.name(), named.exprId(), empty, none, empty)

    def new_column(self, expression: Node, name: str) -> Node:
        """An expression as a column that no plan has yet."""
        none, empty = self._jvm.scala.Option.empty(), self.seq([])
        number = self._object("NamedExpression").newExprId()
        return self._expressions.Alias(expression, name, number, empty, none, empty)

    def true(self) -> Node:
        return self._object("Literal").TrueLiteral()

    def number(self, value: int) -> Node:
        """An INT literal."""
        return self._object("Literal").apply(value)

    def null_like(self, expression: Node) -> Node:
        """A NULL of an expression's type."""
        return self._expressions.Literal(None, expression.dataType())

    def all(self, conditions: Sequence[Node]) -> Node | None:
        """The AND of some conditions; None for no condition."""
        made = None
        for condition in conditions:
            made = condition if made is None else self._expressions.And(made, condition)
        return made

    def either(self, left: Node, right: Node) -> Node:
        return self._expressions.Or(left, right)

    def negated(self, condition: Node) -> Node:
        return self._expressions.Not(condition)

    def is_null(self, expression: Node) -> Node:
        return self._expressions.IsNull(expression)

    def equal(self, left: Node, right: Node) -> Node:
        return self._expressions.EqualTo(left, right)

    def with_match(self, left: Node, right: Node, condition: Node | None) -> tuple[Node, Node]:
        """Every row of the left side once, and a new column that says whether it has a match on the right."""
        matched = self.new_column(self.true(), "matched").toAttribute()
        some = self._jvm.scala.Some(condition)
        kind = self._plans.ExistenceJoin(matched)
        return self._logical.Join(left, right, kind, some, self._logical.JoinHint.NONE()), matched

    def with_semi_join(self, left: Node, right: Node, condition: Node | None) -> Node:
        """The rows of the left side that have a match on the right."""
        some = self._jvm.scala.Option.apply(condition)
        kind = getattr(getattr(self._plans, "LeftSemi$"), "MODULE$")
        return self._logical.Join(left, right, kind, some, self._logical.JoinHint.NONE())

    def only_if(self, condition: Node, expression: Node, otherwise: Node | None = None) -> Node:
        """An expression where a condition holds, else another one or NULL."""
        return self._expressions.If(condition, expression, otherwise or self.null_like(expression))

    def checked(self, column: Node, wrong: Node, message: str) -> Node:
        """A column that ends the query with a message where `wrong` is true."""
        kinds = self._expressions
        failure = kinds.Cast(
            kinds.RaiseError(self._object("Literal").apply(message)), column.dataType(), self._jvm.scala.Option.empty()
        )
        return self.alias(kinds.If(wrong, failure, column), column)

    def stand_in(self, expression: Node, column: Node) -> Node:
        """A value for a column: the expression as text, where the column is text, else NULL."""
        if str(column.dataType().typeName()) == "string":
            return self._expressions.Cast(expression, column.dataType(), self._jvm.scala.Option.empty())
        return self._expressions.Literal(None, column.dataType())

    def _object(self, name: str) -> Any:
        """The Scala object beside a class of expressions."""
        return getattr(getattr(self._expressions, f"{name}$"), "MODULE$")

    def is_true(self, condition: Node) -> Node:
        """Like the condition, but never NULL."""
        return self._expressions.EqualNullSafe(condition, self.true())

    def is_not(self, condition: Node, value: bool) -> Node:
        """Whether a condition is not false (not true); NULL is neither."""
        literal = self._object("Literal")
        other = literal.TrueLiteral() if value else literal.FalseLiteral()
        return self._expressions.Not(self._expressions.EqualNullSafe(condition, other))

    def project(self, items: Sequence[Node], plan: Node) -> Node:
        return self._logical.Project(self.seq(items), plan)

    def filter(self, condition: Node | None, plan: Node) -> Node:
        return plan if condition is None else self._logical.Filter(condition, plan)

    def left_join(self, left: Node, right: Node, condition: Node) -> Node:
        """Every row of the left side with what matches it; no hint how."""
        kind = getattr(getattr(self._plans, "LeftOuter$"), "MODULE$")
        return self._logical.Join(left, right, kind, self._jvm.scala.Some(condition), self._logical.JoinHint.NONE())

    # Between plans and data frames

    def frame(self, plan: Node, spark: SparkSession | None = None) -> DataFrame:
        """The rows of a plan, in this session unless another is given. A command runs at once."""
        from pyspark.sql.classic.dataframe import DataFrame

        session = spark or self.spark
        return DataFrame(self._classic.Dataset.ofRows(session._jsparkSession, plan), session)

    def check(self, plan: Node, spark: SparkSession, *, planned: bool = True) -> None:
        """Raises what Spark finds wrong with a plan, command or query, until it would run it.

        Without `planned` until it would choose how.
        """
        modes = getattr(getattr(self._jvm.org.apache.spark.sql.execution, "CommandExecutionMode$"), "MODULE$")
        execution = spark._jsparkSession.sessionState().executePlan(plan, modes.SKIP())
        if planned:
            execution.sparkPlan()
        else:
            execution.assertAnalyzed()

    def analyzed(self, plan: Node) -> Node:
        """A statement as Spark understands it. Runs nothing; raises what Spark finds wrong with it."""
        modes = getattr(getattr(self._jvm.org.apache.spark.sql.execution, "CommandExecutionMode$"), "MODULE$")
        execution = self._session.sessionState().executePlan(plan, modes.SKIP())
        execution.assertAnalyzed()
        return execution.analyzed()

    def table_exists(self, identifier: Node) -> bool:
        """Whether the session's own catalog has a table."""
        return bool(self._session.sessionState().catalog().tableExists(identifier))

    def columns_of(self, text: str) -> list[str]:
        """The names of the columns of a query, as Spark gives them. Runs nothing; raises Spark's errors."""
        return [str(column.name()) for column in self.output(self.analyzed(self.parsed(text)))]

    def plan(self, frame: DataFrame) -> Node:
        """The plan of a data frame, resolved but not optimized."""
        return frame._jdf.queryExecution().analyzed()

    def column(self, expression: Node) -> Column:
        """An expression of a plan for the frame that `frame` makes of that plan."""
        from pyspark.sql.classic.column import Column

        return Column(self._classic.ExpressionUtils.column(expression))
