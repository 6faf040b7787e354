"""A query that comes to evaluate every call the statement may come to, while no answer is known: for counting requests.

Conditions on answers let every row pass, all branches that an answer chooses between are taken, and an inner call's
request stands in for its answer. Its rows mean nothing; only what its calls are asked does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from aiq.plan.numbered import has_call, is_call, number_of, numbers_in
from aiq.plan.stages import Stages, stages

if TYPE_CHECKING:
    from sqlglot import exp


class Counting(NamedTuple):
    """`query` evaluates the calls that need no other's answer; `relaxed`, all calls of `reached` wherever they may be.

    `relaxed` is None where it would show nothing new. The requests of `nested` calls hold stand-ins for answers. Both
    queries change nothing.
    """

    query: str
    stages: Stages
    relaxed: str | None = None
    reached: frozenset[int] = frozenset()
    nested: frozenset[int] = frozenset()


def counting(text: str) -> Counting | None:
    """How to count the requests of a query, an UPDATE or a DELETE with numbered calls; None where that cannot be."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        tree = _source(sqlglot.parse_one(text, read="duckdb"))
    except SqlglotError:
        return None
    if tree is None:
        return None
    query, order = tree.sql(dialect="duckdb"), stages(tree)
    answers = _Answers(tree)
    numbers = numbers_in(tree)
    if len(numbers) < 2 or answers.group(tree):
        return Counting(query, order)
    relaxed = _Relaxed(answers).query(tree)
    text = relaxed.sql(dialect="duckdb")
    inner = {number_of(call) for call in tree.find_all(exp.Anonymous) if is_call(call) and _has_inner(call)}
    unknown = {
        number_of(call) for call in tree.find_all(exp.Anonymous) if is_call(call) and answers.decide_columns(call)
    }
    reached = frozenset(numbers_in(relaxed)) - unknown
    return Counting(query, order, None if text == query else text, reached, frozenset(inner))


def _source(tree: exp.Expr) -> exp.Expr | None:
    """The query of a statement, made of its parts where it changes rows."""
    from sqlglot import exp

    if isinstance(tree, exp.Query):
        return tree
    if isinstance(tree, exp.Create | exp.Insert) and isinstance(tree.expression, exp.Query):
        return tree.expression
    if isinstance(tree, exp.Copy) and isinstance(tree.this, exp.Query):
        return tree.this
    if has_call(tree.args.get("returning")) or tree.args.get("with") or tree.args.get("with_"):
        return None
    if isinstance(tree, exp.Update):
        values = [item.expression for item in tree.expressions if has_call(item)]
        source = tree.args.get("from") or tree.args.get("from_")
        tables = [tree.this] if source is None else [tree.this, source.this]
    elif isinstance(tree, exp.Delete):
        values, tables = [], [tree.this, *(tree.args.get("using") or [])]
    else:
        return None
    first, *others = [table.copy() for table in tables]
    select = exp.select(*[value.copy() for value in values] or ["1"]).from_(first)
    for table in others:
        select = select.join(table, join_type="cross")
    where = tree.args.get("where")
    return select if where is None else select.where(where.this.copy(), copy=False)


def _has_inner(call: exp.Anonymous) -> bool:
    return any(has_call(argument) for argument in call.expressions[1:])


class _Answers:
    """What the answers of a statement decide, also through the columns that are made of them."""

    def __init__(self, tree: exp.Expr) -> None:
        from sqlglot import exp

        self._names: set[str] = set()
        items = [item for select in tree.find_all(exp.Select) for item in select.expressions]
        more = True
        while more:
            made = {item.alias_or_name.lower() for item in items if self.decide(item)} - {"", "*"}
            more = not made <= self._names
            self._names |= made

    def decide(self, node: exp.Expr | None) -> bool:
        """Whether an expression has a call or a column made of answers."""
        return has_call(node) or self.decide_columns(node)

    def decide_columns(self, node: exp.Expr | None) -> bool:
        """Whether an expression has a column made of answers; by its name, wherever it is from."""
        from sqlglot import exp

        return node is not None and any(column.name.lower() in self._names for column in node.find_all(exp.Column))

    def group(self, tree: exp.Expr) -> bool:
        """Whether rows are grouped by answers; a number or ALL in GROUP BY counts as such."""
        from sqlglot import exp

        groups = list(tree.find_all(exp.Group))
        return any(
            group.args.get("all") or self.decide(group) or any(key.is_int for key in group.expressions)
            for group in groups
        )


class _Relaxed:
    """Makes a query whose rows no answer decides."""

    def __init__(self, answers: _Answers) -> None:
        self._decided = answers.decide

    def query(self, tree: exp.Expr) -> exp.Expr:
        """The relaxed query."""
        from sqlglot import exp

        tree = tree.copy()
        for select in reversed(list(tree.find_all(exp.Select))):  # the inner ones first: what is around copies them
            for name in ("where", "having", "qualify"):
                clause = select.args.get(name)
                if clause is not None and self._decided(clause.this):
                    clause.set("this", self._passing(clause.this))
            for join in select.args.get("joins") or []:
                if self._decided(join.args.get("on")):
                    join.set("on", self._passing(join.args["on"]))
            select.set("expressions", [self._evaluated(item) for item in select.expressions])
            order = select.args.get("order")
            if order is not None:
                order.set("expressions", [self._evaluated(item) for item in order.expressions])
        return tree

    def _passing(self, condition: exp.Expr) -> exp.Expr:
        """A filter's condition, true wherever it may be, that evaluates its calls where they may be evaluated."""
        from sqlglot import exp

        if not self._decided(condition):
            return condition.copy()
        if isinstance(condition, exp.Paren):
            return exp.Paren(this=self._passing(condition.this))
        if isinstance(condition, exp.And):
            return exp.and_(*(self._passing(part) for part in condition.flatten()))
        if isinstance(condition, exp.Case) and not self._decided(condition.this):
            return self._branches(condition, self._passing, exp.false())
        return self._seen(condition)

    def _seen(self, node: exp.Expr) -> exp.Expr:
        """A condition that is always true, for which all calls of an expression are evaluated that may be."""
        from sqlglot import exp

        if not has_call(node) or isinstance(node, exp.Query | exp.AggFunc | exp.Window | exp.Filter):
            return exp.true()  # calls in there have been evaluated before this condition
        if is_call(node):
            return exp.Is(this=self._call(node), expression=exp.null())
        if isinstance(node, exp.Case) and not self._decided(node.this):
            return self._branches(node, self._seen, exp.true())
        if isinstance(node, exp.If):
            taken = [exp.true() if part is None else self._seen(part) for part in map(node.args.get, ("true", "false"))]
            if self._decided(node.this):
                return _all([self._seen(node.this), *taken])
            return _case(node.this.copy(), *taken)
        if isinstance(node, exp.And | exp.Or):
            cheap = [part.copy() for part in node.flatten() if not self._decided(part)]
            dear = _all(self._seen(part) for part in node.flatten())
            if not cheap:
                return dear
            done = exp.or_(*cheap) if isinstance(node, exp.Or) else exp.not_(exp.paren(exp.and_(*cheap)))
            return _case(done, exp.true(), dear)
        if isinstance(node, exp.Coalesce):
            children = list(node.iter_expressions())
            first = next(i for i, child in enumerate(children) if self._decided(child))
            dear = _all(self._seen(child) for child in children[first:])
            if not first:
                return dear
            before = exp.Coalesce(this=children[0].copy(), expressions=[child.copy() for child in children[1:first]])
            return _case(exp.Is(this=before, expression=exp.null()), dear, exp.true())
        return _all(self._seen(child) for child in node.iter_expressions())

    def _branches(self, case: exp.Case, made: Callable[[exp.Expr], exp.Expr], otherwise: exp.Expr) -> exp.Expr:
        """A CASE of what is made of each branch; from the first condition on an answer on, all may be taken."""
        from sqlglot import exp

        branches, default = case.args["ifs"], case.args.get("default")
        first = next((i for i, branch in enumerate(branches) if self._decided(branch.this)), len(branches))
        if first < len(branches):
            dear, *later = branches[first:]
            parts = [self._seen(dear.this), self._seen(dear.args["true"])]
            if later:
                this = None if case.this is None else case.this.copy()
                rest = exp.Case(this=this, ifs=[b.copy() for b in later], default=default and default.copy())
                parts.append(self._seen(rest))
            elif default is not None:
                parts.append(self._seen(default))
            made_so_far = _all(parts)
        else:
            made_so_far = otherwise if default is None else made(default)
        for branch in reversed(branches[:first]):
            when = branch.this.copy()
            if case.this is not None:
                when = exp.EQ(this=case.this.copy(), expression=when)
            made_so_far = _case(when, made(branch.args["true"]), made_so_far)
        return made_so_far

    def _evaluated(self, node: exp.Expr) -> exp.Expr:
        """An expression of the same type for which all calls are evaluated that may be."""
        from sqlglot import exp

        if not has_call(node) or isinstance(node, exp.Query):
            return node
        if is_call(node):
            return self._call(node)
        if isinstance(node, exp.Case | exp.If | exp.Coalesce | exp.And | exp.Or):
            return _case(self._seen(node), exp.null(), node.copy())
        return _with_children(node, self._evaluated)

    def _call(self, call: exp.Anonymous) -> exp.Anonymous:
        """A call in whose request each inner call's own request stands for its answer."""
        if not _has_inner(call):
            return call.copy()
        number, *arguments = call.expressions
        made = call.copy()
        made.set("expressions", [number.copy(), *(self._standing(argument) for argument in arguments)])
        return made

    def _standing(self, node: exp.Expr) -> exp.Expr:
        from sqlglot import exp

        if not has_call(node):
            return node.copy()
        if is_call(node):
            inner = self._call(node)
            request = exp.cast(inner.expressions[1].copy(), "VARCHAR")
            return _case(exp.Is(this=inner, expression=exp.null()), request, exp.null())
        if isinstance(node, exp.Case):
            branches = [branch.args["true"] for branch in node.args["ifs"]] + [node.args.get("default")]
            conditions = [node.this, *(branch.this for branch in node.args["ifs"])]
            if any(self._decided(condition) for condition in conditions):
                values = [self._standing(branch) for branch in branches if branch is not None]
                return exp.Coalesce(this=values[0], expressions=values[1:])
        return _with_children(node, self._standing)


def _with_children(node: exp.Expr, made: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    from sqlglot import exp

    copy = node.copy()
    for key, value in node.args.items():
        if isinstance(value, exp.Expr):
            copy.set(key, made(value))
        elif isinstance(value, list):
            copy.set(key, [made(item) if isinstance(item, exp.Expr) else item for item in value])
    return copy


def _all(conditions: Iterable[exp.Expr]) -> exp.Expr:
    from sqlglot import exp

    return exp.and_(*(condition for condition in conditions if condition != exp.true()), exp.true())


def _case(condition: exp.Expr, result: exp.Expr, default: exp.Expr) -> exp.Case:
    from sqlglot import exp

    return exp.Case(ifs=[exp.If(this=condition, true=result)], default=default)
