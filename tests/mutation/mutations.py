"""Mutants of a file: the operators of mutmut for Python, our own for the SQL of the views."""

from __future__ import annotations

import ast
import difflib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import libcst as cst
import sqlglot
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_arg_removal
from sqlglot import exp

_NOT_MUTATED = (cst.Annotation, cst.Import, cst.ImportFrom)
_TYPES_ONLY = {"cast", "len", "isinstance", "TypeVar"}
_DIALECTS = {"sqlite": "sqlite", "postgresql": "postgres"}


Change = tuple[str, str, str]
"""A file, the lines that are replaced, and the lines in their place."""


@dataclass(frozen=True)
class Candidate:
    """A place of a file and what may replace it.

    Attributes:
        file: path in the checkout.
        operator: name of the kind of mutation.
        where: the function or class it is in, or "" for SQL.
        lines: first and last line of the place; (0, 0) for SQL.
        rank: a number that depends on the seed and the mutation, and little on the rest of the
            file. The lowest ranks are the sample.
        text: makes the text of the mutated file.
    """

    file: str
    operator: str
    where: str
    lines: tuple[int, int]
    rank: str
    text: Callable[[], str]


@dataclass(frozen=True)
class Mutant:
    """A mutated file.

    Attributes:
        file: path in the checkout.
        operator: name of the kind of mutation.
        where: the function or class that it is in; of SQL the line, as `pretty` has it.
        lines: as in `Candidate`.
        text: of the mutated file.
        before: the lines that it replaces, stripped; of SQL as `pretty` has them.
        after: the lines in their place, stripped.
    """

    file: str
    operator: str
    where: str
    lines: tuple[int, int]
    text: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def change(self) -> Change:
        """What it changes, but for the place in the file."""
        return self.file, "\n".join(self.before), "\n".join(self.after)

    def diff(self) -> str:
        """Return it as a short diff."""
        where = f"{self.file}:{self.lines[0] or self.where}"
        lines = [*(f"-{line}" for line in self.before), *(f"+{line}" for line in self.after)]
        return "\n".join([f"{where} ({self.operator})", *lines])


def candidates(root: Path, file: str, seed: int) -> list[Candidate]:
    """Return all mutations of a file, in the order of their ranks."""
    text = (root / file).read_text("utf-8")
    found = _of_python(text) if file.endswith(".py") else _of_sql(text, _dialect(file))
    seen: Counter[str] = Counter()
    made = []
    for operator, where, lines, change, mutated in found:
        what = f"{seed} {file} {operator} {change}"
        seen[what] += 1
        rank = hashlib.sha256(f"{what} {seen[what]}".encode()).hexdigest()
        made.append(Candidate(file, operator, where, lines, rank, mutated))
    return sorted(made, key=lambda candidate: candidate.rank)


def mutant(root: Path, candidate: Candidate) -> Mutant | None:
    """Return what a candidate makes of its file, or None if that differs only in types."""
    new = candidate.text()
    if not candidate.file.endswith(".py"):
        old = pretty(root, candidate.file)
    elif _without_types(old := (root / candidate.file).read_text("utf-8")) == _without_types(new):
        return None
    _, _, hunk, *changed = difflib.unified_diff(
        old.splitlines(), new.splitlines(), lineterm="", n=0
    )
    where = candidate.where or hunk.split()[1].strip("-").partition(",")[0]
    before, after = (
        tuple(line[1:].strip() for line in changed if line[0] == sign) for sign in "-+"
    )
    return Mutant(candidate.file, candidate.operator, where, candidate.lines, new, before, after)


@cache
def pretty(root: Path, file: str) -> str:
    """Return the SQL of a view without comments, a clause a line."""
    text, dialect = (root / file).read_text("utf-8"), _dialect(file)
    return sqlglot.parse_one(text, dialect=dialect).sql(dialect, pretty=True, comments=False)


def _dialect(file: str) -> str:
    return _DIALECTS[Path(file).parent.name]


_Found = tuple[str, str, tuple[int, int], str, Callable[[], str]]
"""Operator, where, lines, the change in words, and what makes the text of the file."""


class _Python(cst.CSTVisitor):
    """Collects the mutations of a module."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, cst.CSTNode, cst.CSTNode, tuple[int, int]]] = []
        self._names: list[str] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Collect those of a node; return whether there may be others in it."""
        if isinstance(node, _NOT_MUTATED) or _is_about_types(node):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._names.append(node.name.value)
        position = self.get_metadata(PositionProvider, node)
        for kind, operator in mutation_operators:
            for number, other in enumerate(operator(node) if isinstance(node, kind) else ()):
                if isinstance(node, cst.BaseString) and number:
                    break  # the same in capitals
                if operator is operator_arg_removal and _drops_a_position(node, other):
                    continue  # a TypeError
                lines = (position.start.line, position.end.line)
                name = operator.__name__.removeprefix("operator_")
                where = ".".join(self._names) or "module"
                self.found.append((name, where, node, other, lines))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        """Leave a function or a class."""
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self._names.pop()


def _is_about_types(node: cst.CSTNode) -> bool:
    return (
        isinstance(node, cst.Call)
        and isinstance(node.func, cst.Name)
        and node.func.value in _TYPES_ONLY
    )


def _drops_a_position(before: cst.CSTNode, after: cst.CSTNode) -> bool:
    assert isinstance(before, cst.Call)
    assert isinstance(after, cst.Call)
    if len(before.args) == len(after.args):
        return False
    (dropped,) = (arg for arg in before.args if arg not in after.args)
    return dropped.keyword is None


def _of_python(text: str) -> Iterator[_Found]:
    wrapper = MetadataWrapper(cst.parse_module(text))
    visitor = _Python()
    wrapper.visit(visitor)
    code = wrapper.module.code_for_node
    for operator, where, node, other, lines in visitor.found:

        def mutated(node: cst.CSTNode = node, other: cst.CSTNode = other) -> str:
            module = wrapper.module.deep_replace(node, other)
            assert isinstance(module, cst.Module)
            return module.code

        yield operator, where, lines, f"{code(node)} -> {code(other)}", mutated


@cache
def _without_types(text: str) -> str:
    """Return what a module consists of, without its annotations and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return ast.dump(tree)


# SQL

_SWAPS: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.EQ: exp.NEQ,
    exp.NEQ: exp.EQ,
    exp.LT: exp.LTE,
    exp.LTE: exp.LT,
    exp.GT: exp.GTE,
    exp.GTE: exp.GT,
    exp.And: exp.Or,
    exp.Or: exp.And,
    exp.Add: exp.Sub,
    exp.Sub: exp.Add,
    exp.Min: exp.Max,
    exp.Max: exp.Min,
}


def _of_sql(text: str, dialect: str) -> Iterator[_Found]:
    tree = sqlglot.parse_one(text, dialect=dialect)
    for place, node in enumerate(tree.walk()):
        if _is_for_types(node):
            continue
        for number, (operator, _) in enumerate(_sql_operators(node)):

            def mutated(place: int = place, number: int = number) -> str:
                copy = tree.copy()
                (found,) = (one for here, one in enumerate(copy.walk()) if here == place)
                list(_sql_operators(found))[number][1]()
                return copy.sql(dialect, pretty=True, comments=False)

            yield operator, "", (0, 0), f"{node.sql(dialect, comments=False)} {number}", mutated


def _is_for_types(node: exp.Expr) -> bool:
    """Whether it is in a SELECT ... WHERE 0, or adds one: that only gives a column its type."""
    select = node.expression if isinstance(node, exp.Union) else node
    if not isinstance(select, exp.Select):
        select = node.find_ancestor(exp.Select)
    where = select and select.args.get("where")
    return isinstance(where, exp.Where) and where.this.sql() == "0"


def _sql_operators(  # noqa: C901, PLR0912 (a table of operators)
    node: exp.Expr,
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the name of each mutation of a node, and what does it in place."""
    if (other := _SWAPS.get(type(node))) is not None:
        arguments = {name: value for name, value in node.args.items() if name in other.arg_types}
        yield f"{node.key} -> {other.key}", lambda: node.replace(other(**arguments))
    match node:
        case exp.And() | exp.Or():
            yield "condition dropped", lambda: node.replace(node.this)
            yield "condition dropped", lambda: node.replace(node.expression)
        case exp.Where():
            yield "where dropped", node.pop
        case exp.Not():
            yield "not dropped", lambda: node.replace(node.this)
        case exp.Is() if not isinstance(node.parent, exp.Not):
            yield "is null -> is not null", lambda: node.replace(exp.Not(this=node.copy()))
        case exp.In() if len(node.expressions) > 1:
            for place in range(len(node.expressions)):
                yield "in: one dropped", node.expressions[place].pop
        case exp.Join() if node.side == "LEFT":
            yield "left join -> join", lambda: node.set("side", None)
        case exp.Join() if node.args.get("on") or node.args.get("using"):
            yield "join -> left join", lambda: node.set("side", "LEFT")
        case exp.Ordered():
            yield "order reversed", lambda: node.set("desc", not node.args.get("desc"))
        case exp.Union():
            yield "union all", lambda: node.set("distinct", not node.args.get("distinct"))
        case exp.Literal(is_string=True):
            yield "text", lambda: node.replace(exp.Literal.string(f"{node.name}X"))
        case exp.Literal() if not _is_of_exists(node):
            yield "number", lambda: node.replace(exp.Literal.number(int(node.name) + 1))
        case exp.Coalesce():
            yield "coalesce: the first only", lambda: node.replace(node.this)
            yield "coalesce: the others only", lambda: node.replace(node.expressions[0])
        case exp.Case():
            branches = [*node.args["ifs"], node] if node.args.get("default") else node.args["ifs"]
            for first, second in pairwise(branches):
                yield "case: branches swapped", partial(_swap, first, second)
        case exp.Window() if node.args.get("partition_by"):
            for place in range(len(node.args["partition_by"])):
                yield "partition: one dropped", node.args["partition_by"][place].pop
        case exp.Neg():
            yield "minus dropped", lambda: node.replace(node.this)


def _is_of_exists(node: exp.Expr) -> bool:
    return isinstance(node.parent, exp.Select) and isinstance(node.parent.parent, exp.Exists)


def _swap(one: exp.Expr, other: exp.Expr) -> None:
    """Swap the results of two branches of a CASE, the last of which may be its default."""
    name = "default" if isinstance(other, exp.Case) else "true"
    first, second = one.args["true"].copy(), other.args[name].copy()
    one.set("true", second)
    other.set(name, first)
