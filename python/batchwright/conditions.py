"""Conditions on parameters, written as text: parsed by Python's `ast`, worked out in columns.

Nothing is evaluated by Python: each node of the grammar has its rule here, everything else is
refused with its place in the text. Null behaves as in SQL: a comparison with it holds for no job.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from batchwright.columns import common_type
from batchwright.errors import DefinitionError

if TYPE_CHECKING:
    import pyarrow as pa

Columns = Mapping[str, Any]
"""Arrow arrays by the name of their parameter, all of one length."""

_ARITHMETIC: Final[dict[type[ast.operator], tuple[str, str]]] = {
    ast.Add: ("+", "add_checked"),
    ast.Sub: ("-", "subtract_checked"),
    ast.Mult: ("*", "multiply_checked"),
    ast.Div: ("/", "divide"),
    ast.Mod: ("%", "mod"),
}
_COMPARISONS: Final[dict[type[ast.cmpop], tuple[str, str]]] = {
    ast.Eq: ("==", "equal"),
    ast.NotEq: ("!=", "not_equal"),
    ast.Lt: ("<", "less"),
    ast.LtE: ("<=", "less_equal"),
    ast.Gt: (">", "greater"),
    ast.GtE: (">=", "greater_equal"),
}
_FOR_USE_INSTEAD: Final = (
    "use comparisons, and, or, not, in, + - * / %, is None and constants, or pass a function"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition."""

    text: str
    root: ast.expr

    @staticmethod
    def parse(text: str) -> Condition:
        """Parse a condition; `DefinitionError` says what is refused, and where.

        Examples
        --------
        >>> sorted(Condition.parse("n > 10 and kernel == 'radial'").names)
        ['kernel', 'n']
        """
        source = text.strip()
        try:
            root = ast.parse(source, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            # Where the text ends too early, Python's offset is 0.
            column = getattr(error, "offset", 1) or len(source) + 1
            why = getattr(error, "msg", None) or str(error)
            raise DefinitionError(f"{source!r} at column {column}: {why}") from None
        condition = Condition(source, root)
        _Evaluation(condition.text, {}).check(root)
        return condition

    @property
    def names(self) -> frozenset[str]:
        """The parameters it speaks of."""
        return frozenset(node.id for node in ast.walk(self.root) if isinstance(node, ast.Name))

    def mask(self, columns: Columns, length: int) -> pa.Array:
        """Tell for each row whether the condition holds; null where that is unknown."""
        import pyarrow as pa

        evaluation = _Evaluation(self.text, columns)
        held = evaluation.truth(self.root)
        if isinstance(held, pa.Scalar):
            return pa.array([held.as_py()], pa.bool_()).take(pa.array([0] * length, pa.int32()))
        return held


class _Evaluation:
    """Works a condition out over columns; scalars stand for constants."""

    def __init__(self, text: str, columns: Columns) -> None:
        self._text = text
        self._columns = columns

    # -- what is allowed at all

    def check(self, node: ast.expr) -> None:
        """Refuse what the grammar lacks, before there are columns to look at."""
        match node:
            case ast.BoolOp(values=parts):
                operands = parts
            case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
                operands = [operand]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                operands = [left, right]
            case ast.Compare():
                operands = self._compared(node)
            case ast.Constant(value=None | bool() | int() | float() | str() | bytes()):
                operands = []
            case ast.Name():
                operands = []
            case _:
                self._refuse(node, f"{_called(node)} is not understood; {_FOR_USE_INSTEAD}")
        for operand in operands:
            self.check(operand)

    def _compared(self, node: ast.Compare) -> list[ast.expr]:
        operands = [node.left]
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                if not isinstance(right, ast.List | ast.Tuple):
                    self._refuse(right, "`in` needs a list or a tuple at its right")
                for element in right.elts:
                    if not _is_constant(element):
                        self._refuse(element, "the list at the right of `in` holds constants only")
                if len(node.ops) > 1:
                    self._refuse(node, "`in` cannot be part of a chain of comparisons")
            elif isinstance(op, ast.Is | ast.IsNot):
                if not (isinstance(right, ast.Constant) and right.value is None):
                    self._refuse(right, "`is` compares with None only; use == for all else")
            else:
                operands.append(right)
        return operands

    # -- truth

    def truth(self, node: ast.expr) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        match node:
            case ast.BoolOp(op=op, values=parts):
                join = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
                return reduce(join, map(self.truth, parts))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return pc.invert(self.truth(operand))
            case ast.Compare():
                return self._comparison(node)
            case _:
                value = self._value(node)
                if pa.types.is_null(value.type):
                    return value.cast(pa.bool_())
                if not pa.types.is_boolean(value.type):
                    self._refuse(node, f"this is {_kind(value)}, not a condition")
                return value

    def _comparison(self, node: ast.Compare) -> Any:
        import pyarrow.compute as pc

        left = node.left
        found: list[Any] = []
        for op, right in zip(node.ops, node.comparators, strict=True):
            found.append(self._one_comparison(op, left, right, node))
            left = right
        return reduce(pc.and_kleene, found)

    def _one_comparison(
        self, op: ast.cmpop, left: ast.expr, right: ast.expr, node: ast.expr
    ) -> Any:
        import pyarrow.compute as pc

        value = self._value(left)
        match op:
            case ast.Is():
                return pc.is_null(value)
            case ast.IsNot():
                return pc.is_valid(value)
            case ast.In() | ast.NotIn():
                assert isinstance(right, ast.List | ast.Tuple)
                held = self._is_in(value, [_constant(element) for element in right.elts])
                return held if isinstance(op, ast.In) else pc.invert(held)
            case _:
                return self._ordered(op, value, self._value(right), node)

    def _ordered(self, op: ast.cmpop, left: Any, right: Any, node: ast.expr) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        sign, function = _COMPARISONS[type(op)]
        for one, other in ((left, right), (right, left)):
            # A constant None is asked for; a null among values is not.
            if isinstance(one, pa.Scalar) and not one.is_valid and sign in ("==", "!="):
                return pc.is_null(other) if sign == "==" else pc.is_valid(other)
        pair = _comparable(left, right)
        if pair is None:
            if sign in ("==", "!="):
                return _never(left, right, equal=sign == "==")
            self._refuse(node, f"{_kind(left)} and {_kind(right)} cannot be ordered by {sign}")
        try:
            return getattr(pc, function)(*pair)
        except pa.ArrowException:
            self._refuse(node, f"{_kind(left)} and {_kind(right)} cannot be compared by {sign}")

    def _is_in(self, value: Any, members: list[Any]) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.is_null(value) if None in members else None
        for alike in _by_kind(members):
            pair = _comparable(value, pa.array(alike))
            if pair is not None:
                held = pc.is_in(pair[0], value_set=pair[1])
                found = held if found is None else pc.or_(found, held)
        if found is None:
            found = _never(value, value, equal=True)
        if None in members:
            return found
        nothing = pa.scalar(None, pa.bool_())
        return pc.if_else(pc.is_null(value), nothing, found)

    # -- values

    def _value(self, node: ast.expr) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        match node:
            case ast.Constant(value=value):
                try:
                    return pa.scalar(value)
                except OverflowError:
                    return pa.scalar(float(cast("int", value)))
            case ast.Name(id=name):
                return self._column(name, node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return pc.negate(self._number(operand, "-"))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._number(operand, "+")
            case ast.BinOp(left=left, op=op, right=right):
                return self._arithmetic(*_ARITHMETIC[type(op)], left, right, node)
            case _:
                return self.truth(node)

    def _column(self, name: str, node: ast.expr) -> Any:
        if name in self._columns:
            return self._columns[name]
        known = ", ".join(sorted(self._columns)) or "none"
        self._refuse(node, f"there is no parameter {name!r}; there are {known}")

    def _number(self, node: ast.expr, sign: str) -> Any:
        import pyarrow as pa

        value = self._value(node)
        if pa.types.is_boolean(value.type) or pa.types.is_null(value.type):
            return value.cast(pa.int64())
        if not (pa.types.is_integer(value.type) or pa.types.is_floating(value.type)):
            self._refuse(node, f"{sign} does not work on {_kind(value)}")
        return value

    def _arithmetic(
        self, sign: str, function: str, left: ast.expr, right: ast.expr, node: ast.expr
    ) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        one, other = self._number(left, sign), self._number(right, sign)
        if sign == "%":
            return _modulo(one, other)
        if sign == "/":
            floats = other.cast(pa.float64(), safe=False)
            divisor = pc.if_else(pc.equal(floats, 0.0), pa.scalar(None, pa.float64()), floats)
            return pc.divide(one.cast(pa.float64(), safe=False), divisor)
        try:
            return getattr(pc, function)(one, other)
        except pa.ArrowInvalid:
            # Python's integers do not overflow; floats come closest.
            floats = (value.cast(pa.float64(), safe=False) for value in (one, other))
            return getattr(pc, function)(*floats)

    def _refuse(self, node: ast.expr, why: str) -> NoReturn:
        raise DefinitionError(f"{self._text!r} at column {node.col_offset + 1}: {why}")


def _comparable(left: Any, right: Any) -> tuple[Any, Any] | None:
    """Bring both sides to one type; None where values of such types are never equal."""
    import pyarrow as pa

    of = pa.types
    one, other = (
        value.cast(pa.int64()) if of.is_boolean(value.type) else value for value in (left, right)
    )
    type = common_type([one.type, other.type])
    if type is None:
        return _as_times(one, other)
    return one.cast(type, safe=False), other.cast(type, safe=False)


def _as_times(left: Any, right: Any) -> tuple[Any, Any] | None:
    """Read a text as a time where it is compared with times."""
    import pyarrow as pa

    of = pa.types
    for one, other in ((left, right), (right, left)):
        if of.is_temporal(one.type) and of.is_string(other.type) and not of.is_duration(one.type):
            try:
                read = other.cast(one.type)
            except pa.ArrowException:
                return None
            return (one, read) if one is left else (read, one)
    if of.is_temporal(left.type) and of.is_temporal(right.type):
        return left, right
    return None


def _never(left: Any, right: Any, *, equal: bool) -> Any:
    """Give the answer of == or != for values that cannot be equal; null where one is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pc.and_(pc.is_valid(left), pc.is_valid(right))
    return pc.if_else(known, pa.scalar(not equal), pa.scalar(None, pa.bool_()))


def _by_kind(members: list[Any]) -> list[list[Any]]:
    """Part constants into texts, bytes and numbers, each of one type."""
    texts = [member for member in members if isinstance(member, str)]
    data = [member for member in members if isinstance(member, bytes)]
    numbers = [member for member in members if isinstance(member, int | float)]
    whole: list[Any] = [int(number) for number in numbers if float(number).is_integer()]
    if len(whole) < len(numbers) or any(abs(number) >= 2**63 for number in whole):
        whole = [float(number) for number in numbers]
    return [alike for alike in (texts, data, whole) if alike]


def _modulo(left: Any, right: Any) -> Any:
    """Give Python's %, with the sign of the divisor; null where that is zero."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    unknown = pc.coalesce(pc.or_(pc.equal(right, 0), pc.is_null(left)), True)
    # Where the answer is null anyway, 1 % 1 keeps numpy from warning.
    one, other = (pc.if_else(unknown, pa.scalar(1, value.type), value) for value in (left, right))
    if isinstance(one, pa.Scalar) and isinstance(other, pa.Scalar):
        return pa.scalar(None if unknown.as_py() else operator.mod(one.as_py(), other.as_py()))
    values = np.mod(_numpy(one), _numpy(other))
    return pa.array(values, mask=np.asarray(unknown))


def _numpy(value: Any) -> Any:
    import pyarrow as pa

    return value.as_py() if isinstance(value, pa.Scalar) else value.to_numpy(zero_copy_only=False)


def _is_constant(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() | bytes()):
            return True
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int() | float())):
            return True
        case _:
            return False


def _constant(node: ast.expr) -> Any:
    return ast.literal_eval(node)


def _kind(value: Any) -> str:
    import pyarrow as pa

    names: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
        (pa.types.is_null, "None"),
        (pa.types.is_boolean, "a bool"),
        (pa.types.is_integer, "an int"),
        (pa.types.is_floating, "a float"),
        (pa.types.is_string, "a text"),
        (pa.types.is_large_string, "a text"),
        (pa.types.is_temporal, "a time"),
        (pa.types.is_nested, "a list"),
    )
    return next((name for fits, name in names if fits(value.type)), str(value.type))


def _called(node: ast.expr) -> str:
    names: dict[type[ast.expr], str] = {
        ast.Call: "a call",
        ast.Attribute: "an attribute",
        ast.Subscript: "an index",
        ast.Lambda: "a lambda",
        ast.IfExp: "if … else",
        ast.List: "a list",
        ast.Tuple: "a tuple",
        ast.Dict: "a dict",
        ast.JoinedStr: "an f-string",
        ast.Constant: "such a constant",
    }
    return names.get(type(node), f"{type(node).__name__}")
