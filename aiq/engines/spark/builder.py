"""`ai_query` as Spark's analyzer builds it from the arguments of a call: checked, and of the type that they imply.

Spark has one type for a Python function. Here it asks, for each call that it analyses, a function of Python which one
the call is. Classic sessions only: Spark Connect has no JVM to be asked by.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.pandas.types import to_arrow_type
from pyspark.sql.udf import UserDefinedFunction

from aiq.engines.spark.catalyst import Catalyst, Node
from aiq.engines.spark.failures import noted
from aiq.engines.spark.statement import wrong_rows
from aiq.errors import AiqError, StatementError
from aiq.functions.call_site import CallSite
from aiq.functions.signature import FUNCTION, bind
from aiq.functions.types import ddl
from aiq.gateway import Gateway
from aiq.sql.notebook.fields import names_read
from aiq.statements.sites import PER_ROW, endpoint_of, not_constant, options_of, with_return_type

_CHANGES = {"DeleteFromTable": "DELETE", "UpdateTable": "UPDATE", "MergeIntoTable": "MERGE"}
_QUERIES = ("SELECT", "FROM", "INSERT", "CREATE", "EXPLAIN")
_FIRST_WORD = re.compile(
    r"(?>[\s(]|--[^\n]*\n|/\*.*?\*/)*+(SELECT|FROM|INSERT|CREATE|EXPLAIN|WITH|DELETE|UPDATE|MERGE)\s",
    re.IGNORECASE | re.DOTALL,
)
_DELTA_API = ("io.delta.tables.DeltaTable", "io.delta.tables.DeltaMergeBuilder")
_DELTA_UPDATES = {"DeltaTableOperations.executeUpdate": "UPDATE", "io.delta.tables.DeltaMergeBuilder": "MERGE"}
REQUEST_OF_COLUMN = "aiq_request"
"""A function of a request that is nothing but the request: it tells what a column is analysed for."""


def build_by_arguments(
    spark: SparkSession, gateway: Gateway, function: Callable[[pa.DataType, str], Callable[..., pa.Array]]
) -> None:
    """Has `ai_query` of a session built call by call. `function(type, text)` gives what workers evaluate.

    `text` is the statement, or the view, in which the call stands; "" in an expression of a data frame.

    Wrong arguments are an IllegalArgumentException when a statement is analysed.
    """
    from pyspark.java_gateway import ensure_callback_server_started

    start: Any = ensure_callback_server_started
    start(spark.sparkContext._gateway)
    builder = _CallBuilder(spark, gateway, function)
    registry: Any = spark._jsparkSession.sessionState().functionRegistry()
    registry.createOrReplaceTempFunction(FUNCTION, builder.in_jvm(), "python_udf")
    _take_for_own(spark, registry, FUNCTION, _Unregistered(spark._jvm))
    request = _RequestOfColumn(spark._jvm)
    registry.createOrReplaceTempFunction(REQUEST_OF_COLUMN, request.in_jvm(), "scala_udf")
    _take_for_own(spark, registry, REQUEST_OF_COLUMN, request)


def _take_for_own(spark: SparkSession, registry: Any, called: str, otherwise: FunctionOfArguments) -> None:
    """Has Spark take a function for one of its own, so that CREATE FUNCTION and CREATE VIEW may name it.

    Spark keeps no definition that names a temporary function. What it has for its own is looked up in each session;
    one that was not registered gets what it is `otherwise`.
    """
    jvm: Any = spark._jvm
    name = jvm.org.apache.spark.sql.catalyst.FunctionIdentifier(called)
    own = jvm.org.apache.spark.sql.catalyst.analysis.FunctionRegistry.builtin()
    if not own.functionExists(name):
        own.registerFunction(name, registry.lookupFunction(name).get(), otherwise.in_jvm())


class FunctionOfArguments(ABC):
    """A `scala.Function1` of the arguments of a call, which gives its expression, or why there is none."""

    class Java:
        implements = ("scala.Function1",)

    def __init__(self, jvm: Any) -> None:
        self._jvm = jvm

    def in_jvm(self) -> Any:
        """The builder for the function registry. What `apply` finds wrong is thrown by the JVM, in its own words."""
        invoke, loader = self._jvm.java.lang.invoke, self._jvm.java.lang.Thread.currentThread().getContextClassLoader()

        def named(name: str) -> Any:
            return self._jvm.java.lang.Class.forName(name, False, loader)

        function, attempt, anything = named("scala.Function1"), named("scala.util.Try"), named("java.lang.Object")
        lookup, types = invoke.MethodHandles.publicLookup(), invoke.MethodType
        apply = lookup.findVirtual(function, "apply", types.genericMethodType(1)).bindTo(self)
        get = lookup.findVirtual(attempt, "get", types.methodType(anything))
        both = invoke.MethodHandles.filterReturnValue(apply.asType(types.methodType(attempt, anything)), get)
        return invoke.MethodHandleProxies.asInterfaceInstance(function, both)

    def apply(self, children: Any) -> Any:
        """The expression of a call with these arguments, as a `scala.util.Try`."""
        outcome = self._jvm.scala.util
        try:
            return outcome.Success(self._expression(children))
        except AiqError as error:
            return outcome.Failure(self._jvm.java.lang.IllegalArgumentException(noted(error)))

    @abstractmethod
    def _expression(self, children: Any) -> Any:
        """The expression of a call with these arguments. Raises AiqError."""

    def _stack(self) -> str:
        """Who has Spark analyse the call."""
        return str(self._jvm.org.apache.spark.util.Utils.exceptionString(self._jvm.java.lang.Throwable()))

    def toString(self) -> str:
        return FUNCTION


class _Unregistered(FunctionOfArguments):
    """What `ai_query` is in a session that was not registered."""

    def _expression(self, children: Any) -> Any:
        raise StatementError("ai_query is not known in this SparkSession; call aiq.register(spark) with it first")


class _RequestOfColumn(FunctionOfArguments):
    """The request of `aiq.functions.ai_query`, where `DeltaTable` does not change the wrong rows by it."""

    def _expression(self, children: Any) -> Any:
        stack = self._stack()
        if command := next((command for name, command in _DELTA_UPDATES.items() if name in stack), None):
            raise wrong_rows(command)
        return children.apply(0)


def _names_of_fields(text: str, error_field: str) -> tuple[str, str]:
    try:
        return names_read(text, error_field=error_field, dialect="databricks")
    except AiqError:  # Spark reads what is no statement of Databricks'
        return error_field, "errorMessage"


class _CallBuilder(FunctionOfArguments):
    """What `ai_query` is in a registered session."""

    def __init__(
        self, spark: SparkSession, gateway: Gateway, function: Callable[[pa.DataType, str], Callable[..., pa.Array]]
    ) -> None:
        super().__init__(spark._jvm)
        self._catalyst, self._gateway = Catalyst(spark), gateway
        self._changes = lru_cache(maxsize=64)(self._change)
        self._names = lru_cache(maxsize=64)(_names_of_fields)

        @lru_cache(maxsize=64)
        def judf(kind: pa.DataType, text: str) -> Any:
            vectorized: Any = arrow_udf
            made = vectorized(function(kind, text), ddl(kind))
            return UserDefinedFunction(made.func, made.returnType, FUNCTION, made.evalType)._judf

        self._judf = judf

    def _expression(self, children: Any) -> Any:
        self._refuse_change()
        text = self._statement() or ""
        kind = self._type(self._catalyst.items(children))
        return self._judf(kind, text if _FIRST_WORD.match(text) else "").builder(children)

    def _type(self, children: list[Node]) -> pa.DataType:
        """The type of a call's answers. Raises FunctionError for arguments that are wrong, or no constants."""
        catalyst = self._catalyst
        bound = bind([catalyst.named(child) for child in children])
        constants = {name: argument for name, argument in bound.items() if name not in PER_ROW}
        for name, argument in constants.items():
            if not argument.foldable():
                raise not_constant(name, f"it is {argument.sql()}")
        values = self._values(constants)
        name, options = endpoint_of(values), options_of(values)
        self._gateway.refresh()
        config = self._gateway.config
        endpoint = self._gateway.endpoint(name)
        options = with_return_type(options, endpoint, self._gateway)
        site = CallSite(endpoint, options, error_field=config.settings.error_field)
        request, *files = (to_arrow_type(catalyst.type(bound[name])) for name in PER_ROW if name in bound)
        site.check(request, files[0] if files else None)
        if site.fail_on_error:
            return site.type
        names = self._names(self._statement() or "", config.settings.error_field)
        return pa.struct([(name, field.type) for name, field in zip(names, site.type, strict=True)])

    def _values(self, constants: Mapping[str, Node]) -> dict[str, Any]:
        """The values of constant arguments; those of a STRUCT or MAP are looked at when rows are asked for."""
        values: dict[str, Any] = {}
        for name, argument in constants.items():
            kind = str(argument.dataType().typeName())
            if kind in ("struct", "map"):
                values[name] = {}
                continue
            value = argument.eval(None)
            values[name] = value if value is None or isinstance(value, bool | int | float) else str(value.toString())
        return values

    def _statement(self) -> str | None:
        """The text that Spark is analysing: a statement, the text of a view, or an expression of a data frame."""
        trees = self._jvm.org.apache.spark.sql.catalyst.trees
        text = getattr(getattr(trees, "CurrentOrigin$"), "MODULE$").get().sqlText()
        return str(text.get()) if text.isDefined() else None

    def _refuse_change(self) -> None:
        """Refuses a call in what DELETE, UPDATE or MERGE decide by: Delta changes the wrong rows (see changing.py)."""
        text = self._statement()
        command = self._changes(text) if text is not None else None
        if command is None:
            return
        raise wrong_rows(command)

    def _change(self, text: str) -> str | None:
        """The name of the command that a text is, if it decides on rows by a call."""
        catalyst = self._catalyst
        starts = _FIRST_WORD.match(text)
        if starts is None:  # an expression, as data frames, DeltaTable and the bodies of functions have them
            return self._change_of_api()
        if starts[1].upper() in _QUERIES:
            return None
        try:
            plan = catalyst.parsed(text)
        except PySparkException:
            return self._change_of_api()
        if catalyst.kind(plan) == "UnresolvedWith":
            plan = catalyst.children(plan)[0]
        command = _CHANGES.get(catalyst.kind(plan))
        own = catalyst.items(plan.expressions()) if command is not None else []
        return command if any(catalyst.any(expression, self._is_call) for expression in own) else None

    def _change_of_api(self) -> str | None:
        """DeltaTable's methods are told by who has Spark analyse the expression."""
        stack = self._stack()
        return "DELETE, UPDATE or MERGE" if any(name in stack for name in _DELTA_API) else None

    def _is_call(self, expression: Node) -> bool:
        if self._catalyst.kind(expression) != "UnresolvedFunction":
            return False
        return str(expression.nameParts().last()).lower() == FUNCTION
