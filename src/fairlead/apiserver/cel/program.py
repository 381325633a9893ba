"""From tree to closures: an expression is compiled once into nested functions and evaluated any number of times.

A frame is a list: the budget, then the variables, then those of macros by depth. Costs are counted where work repeats (per iteration of
a macro, per size of a value), not per node: what a body costs is known when it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cmp_to_key
from typing import Any

from fairlead.apiserver.cel.authorizer import Check, select
from fairlead.apiserver.cel.functions import FUNCTIONS, METHODS, NAMESPACED, TYPE_NAMES
from fairlead.apiserver.cel.operators import OPERATORS
from fairlead.apiserver.cel.parser import located, parse
from fairlead.apiserver.cel.syntax import (
    Bind,
    Call,
    Comprehension,
    Expr,
    Index,
    ListLiteral,
    Literal,
    MapLiteral,
    Name,
    Select,
    children,
)
from fairlead.apiserver.cel.values import (
    NONE,
    QUALIFIED_TYPES,
    Budget,
    CelError,
    CelType,
    Optional,
    compare,
    no_overload,
    weight,
)

Frame = list[Any]
Step = Callable[[Frame], Any]


class CompileError(ValueError):
    """An expression that refers to what does not exist; the message shows the place."""


class Program:
    """A compiled expression; `names` are the variables that it uses, of those offered."""

    __slots__ = ("_cost", "_height", "_run", "_variables", "names", "text", "tree")

    def __init__(self, text: str, variables: Sequence[str]) -> None:
        self.text = text
        self.tree = parse(text)
        compiler = _Compiler(text, variables)
        self._run = compiler.step(self.tree)
        self._cost = size(self.tree)
        self._height = compiler.height
        self._variables = tuple(variables)
        self.names = frozenset(compiler.used)

    def __repr__(self) -> str:
        return f"<Program {self.text!r}>"

    def evaluate(self, variables: dict[str, Any], budget: Budget) -> Any:
        """Return the value; raises CelError and OutOfBudget. `variables` holds every variable that is used."""
        budget.spend(self._cost)
        frame: Frame = [budget, *map(variables.get, self._variables), *[None] * self._height]
        return self._run(frame)


def size(expr: Expr) -> int:
    """Return what evaluating `expr` costs, but for what depends on the sizes of values."""
    below = sum(map(size, children(expr)))
    return below if isinstance(expr, Literal) else below + 1


def qualified_type(expr: Select) -> str | None:
    """Return the type that a dotted name stands for (`google.protobuf.Duration`), None for everything else."""
    parts: list[str] = []
    below: Expr = expr
    while isinstance(below, Select) and not below.test and not below.optional:
        parts.append(below.field)
        below = below.operand
    if not isinstance(below, Name):
        return None
    name = ".".join([below.name, *reversed(parts)])
    return name if name in QUALIFIED_TYPES else None


_ESCAPES = (("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/"))


def unescaped(name: str) -> str:
    """Return the field that an escaped identifier stands for (`__dash__`, `__namespace__`)."""
    if "__" not in name:
        return name
    for escape, plain in _ESCAPES:
        name = name.replace(escape, plain)
    if name.startswith("__") and name.endswith("__") and len(name) > 4:
        return name[2:-2]
    return name


class _Compiler:
    def __init__(self, text: str, variables: Sequence[str]) -> None:
        self.text = text
        self.slots = {name: position for position, name in enumerate(variables, 1)}
        self.first_free = len(variables) + 1
        self.depth = 0
        self.height = 0
        self.used: set[str] = set()

    def fail(self, expr: Expr, problem: str) -> CompileError:
        return CompileError(located(self.text, expr.at, problem))

    def slot(self, name: str) -> int:
        """Return the place of a new variable of a macro."""
        place = self.first_free + self.depth
        self.depth += 1
        self.height = max(self.height, self.depth)
        self.slots[name] = place
        return place

    def step(self, expr: Expr) -> Step:
        match expr:
            case Literal():
                value = expr.value
                return lambda frame: value
            case Name():
                return self.name(expr)
            case Select():
                return self.select(expr)
            case Index():
                return self.index(expr)
            case Call():
                return self.call(expr)
            case ListLiteral():
                return self.list_literal(expr)
            case MapLiteral():
                return self.map_literal(expr)
            case Comprehension():
                return self.comprehension(expr)
            case Bind():
                return self.bind(expr)

    def name(self, expr: Name) -> Step:
        place = self.slots.get(expr.name)
        if place is not None:
            self.used.add(expr.name)
            return lambda frame: frame[place]
        if expr.name in TYPE_NAMES:
            named = CelType(expr.name)
            return lambda frame: named
        raise self.fail(expr, f"undeclared reference to '{expr.name}' (in container '')")

    def select(self, expr: Select) -> Step:
        named = qualified_type(expr)
        if named is not None and named.partition(".")[0] not in self.slots:
            constant = CelType(named)
            return lambda frame: constant
        operand, field, plain = self.step(expr.operand), expr.field, unescaped(expr.field)
        if expr.test:
            return lambda frame: _has(operand(frame), field, plain)
        if expr.optional:
            return lambda frame: _optional_field(operand(frame), field, plain)

        def get(frame: Frame) -> Any:
            value = operand(frame)
            if type(value) is dict:
                found = value.get(field)
                if found is None and plain != field:
                    found = value.get(plain)
                if found is None:
                    # A field that is null is absent.
                    raise CelError(f"no such key: {field}")
                return found
            if type(value) is Optional:
                return _optional_field(value, field, plain)
            if type(value) is Check:
                return select(value, field)
            raise no_overload()

        return get

    def index(self, expr: Index) -> Step:
        operand, key = self.step(expr.operand), self.step(expr.key)
        if expr.optional:
            return lambda frame: _optional_item(operand(frame), key(frame))

        def get(frame: Frame) -> Any:
            value = operand(frame)
            if type(value) is Optional:
                return _optional_item(value, key(frame))
            return _item(value, key(frame))

        return get

    def call(self, expr: Call) -> Step:
        match expr.name:
            case "_&&_" | "_||_":
                return self.logical(expr, decisive=expr.name == "_||_")
            case "_?_:_":
                test, yes, no = map(self.step, expr.args)
                return lambda frame: yes(frame) if _truth(test(frame)) else no(frame)
        operator = OPERATORS.get(expr.name)
        if operator is not None:
            operands = [self.step(arg) for arg in expr.args]
            if len(operands) == 2:
                left, right = operands
                return lambda frame: operator(frame[0], left(frame), right(frame))
            (only,) = operands
            return lambda frame: operator(frame[0], only(frame))
        qualified = self.qualified(expr)
        if qualified is not None:
            return self.apply(NAMESPACED[qualified], [self.step(arg) for arg in expr.args])
        if expr.target is not None:
            method = METHODS.get(expr.name)
            if method is None:
                raise self.fail(expr, f"undeclared reference to '{expr.name}' (in container '')")
            return self.apply(
                method, [self.step(expr.target), *map(self.step, expr.args)], touches=expr.name not in _CONSTANT
            )
        function = FUNCTIONS.get(expr.name)
        if function is None:
            raise self.fail(expr, f"undeclared reference to '{expr.name}' (in container '')")
        return self.apply(function, [self.step(arg) for arg in expr.args], touches=expr.name not in _CONSTANT)

    def qualified(self, expr: Call) -> str | None:
        if isinstance(expr.target, Name) and expr.target.name not in self.slots:
            name = f"{expr.target.name}.{expr.name}"
            return name if name in NAMESPACED else None
        return None

    def apply(self, function: Callable[..., Any], args: Sequence[Step], *, touches: bool = True) -> Step:
        """Compile a call; `touches` when it reads all of its arguments."""

        def run(frame: Frame) -> Any:
            values = [arg(frame) for arg in args]
            if touches:
                for value in values:
                    if (units := weight(value)) > 1:
                        frame[0].spend(units)
            try:
                return function(frame[0], *values)
            except TypeError:
                # The wrong number or types of arguments: nothing else in these functions raises it.
                raise no_overload() from None

        return run

    def logical(self, expr: Call, *, decisive: bool) -> Step:
        """Compile && and ||: the side that decides wins, even over an error of the other."""
        left, right = map(self.step, expr.args)

        def run(frame: Frame) -> bool:
            try:
                if _truth(left(frame)) is decisive:
                    return decisive
            except CelError:
                if _truth(right(frame)) is decisive:
                    return decisive
                raise
            return _truth(right(frame))

        return run

    def list_literal(self, expr: ListLiteral) -> Step:
        items = [(self.step(item), position in expr.optional) for position, item in enumerate(expr.items)]

        def run(frame: Frame) -> list[Any]:
            found = []
            for item, optional in items:
                value = item(frame)
                if not optional:
                    found.append(value)
                elif type(value) is not Optional:
                    raise no_overload()
                elif value.present:
                    found.append(value.value)
            return found

        return run

    def map_literal(self, expr: MapLiteral) -> Step:
        entries = [
            (self.step(key), self.step(value), position in expr.optional)
            for position, (key, value) in enumerate(expr.entries)
        ]

        def run(frame: Frame) -> dict[Any, Any]:
            found: dict[Any, Any] = {}
            for key_step, value_step, optional in entries:
                key, value = key_step(frame), value_step(frame)
                if type(key) not in _KEY_TYPES:
                    raise CelError("unsupported key type")
                if optional:
                    if type(value) is not Optional:
                        raise no_overload()
                    if not value.present:
                        continue
                    value = value.value
                if key in found:
                    raise CelError(f"insert failed: key {key} already exists")
                found[key] = value
            return found

        return run

    def bind(self, expr: Bind) -> Step:
        value = self.step(expr.value)
        shadowed, depth = dict(self.slots), self.depth
        place = self.slot(expr.name)
        body = self.step(expr.body)
        self.slots, self.depth = shadowed, depth
        kind = expr.kind

        def run(frame: Frame) -> Any:
            found = value(frame)
            if kind != "bind":
                if type(found) is not Optional:
                    raise no_overload()
                if not found.present:
                    return NONE
                found = found.value
            frame[place] = found
            result = body(frame)
            return Optional(result, True) if kind == "optMap" else result

        return run

    def comprehension(self, expr: Comprehension) -> Step:
        source = self.step(expr.source)
        shadowed, depth = dict(self.slots), self.depth
        first = self.slot(expr.first)
        second = self.slot(expr.second) if expr.second is not None else None
        body = self.step(expr.body)
        condition = self.step(expr.condition) if expr.condition is not None else None
        self.slots, self.depth = shadowed, depth
        # Each iteration pays for its body and for the loop's own three steps.
        price = size(expr.body) + (size(expr.condition) if expr.condition is not None else 0) + 3

        def each(frame: Frame) -> Iterable[Any]:
            value = source(frame)
            budget = frame[0]
            if isinstance(value, list):
                pairs: Iterable[tuple[Any, Any]] = enumerate(value)
                single = 1
            elif type(value) is dict:
                pairs, single = list(value.items()), 0
            else:
                raise no_overload()
            for pair in pairs:
                budget.spend(price)
                if second is None:
                    frame[first] = pair[single]
                else:
                    frame[first], frame[second] = pair
                if condition is None or _truth(condition(frame)):
                    yield frame[first]

        return _LOOPS[expr.kind](each, body)


_CONSTANT = frozenset({"size", "type", "dyn", "hasValue", "value", "or", "orValue", "first", "last"})
"""Functions whose cost does not grow with their arguments."""
_KEY_TYPES = (str, int, bool)
Each = Callable[[Frame], Iterable[Any]]


def _quantifier(decisive: bool) -> Callable[[Each, Step], Step]:
    """Return `exists` or `all`: an error counts only when no item decides."""

    def make(each: Each, body: Step) -> Step:
        def run(frame: Frame) -> bool:
            failed: CelError | None = None
            for _ in each(frame):
                try:
                    if _truth(body(frame)) is decisive:
                        return decisive
                except CelError as error:
                    failed = error
            if failed is not None:
                raise failed
            return not decisive

        return run

    return make


def _exists_one(each: Each, body: Step) -> Step:
    return lambda frame: sum(_truth(body(frame)) for _ in each(frame)) == 1


def _map(each: Each, body: Step) -> Step:
    return lambda frame: [body(frame) for _ in each(frame)]


def _filter(each: Each, body: Step) -> Step:
    return lambda frame: [item for item in each(frame) if _truth(body(frame))]


def _sort_by(each: Each, body: Step) -> Step:
    def run(frame: Frame) -> list[Any]:
        keyed = [(body(frame), item) for item in each(frame)]
        order = cmp_to_key(compare)
        return [item for _, item in sorted(keyed, key=lambda pair: order(pair[0]))]

    return run


def _transform_map(each: Each, body: Step) -> Step:
    return lambda frame: {key: body(frame) for key in each(frame)}


def _transform_entries(each: Each, body: Step) -> Step:
    def run(frame: Frame) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for _ in each(frame):
            entry = body(frame)
            if type(entry) is not dict:
                raise no_overload()
            for key, value in entry.items():
                if key in found:
                    raise CelError(f"insert failed: key {key} already exists")
                found[key] = value
        return found

    return run


_LOOPS: dict[str, Callable[[Each, Step], Step]] = {
    "all": _quantifier(False),
    "exists": _quantifier(True),
    "existsOne": _exists_one,
    "map": _map,
    "filter": _filter,
    "sortBy": _sort_by,
    "transformList": _map,
    "transformMap": _transform_map,
    "transformMapEntry": _transform_entries,
}


def _truth(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise no_overload()


def _has(value: Any, field: str, plain: str) -> bool:
    if type(value) is dict:
        return value.get(field) is not None or value.get(plain) is not None
    if type(value) is Optional:
        return value.present and _has(value.value, field, plain)
    raise no_overload()


def _optional_field(value: Any, field: str, plain: str) -> Optional:
    if type(value) is Optional:
        return _optional_field(value.value, field, plain) if value.present else NONE
    if type(value) is not dict:
        raise no_overload()
    found = value.get(field)
    if found is None:
        found = value.get(plain)
    return NONE if found is None else Optional(found, True)


def _item(value: Any, key: Any) -> Any:
    if isinstance(value, list):
        if isinstance(key, float) and key.is_integer():
            key = int(key)
        if not isinstance(key, int) or isinstance(key, bool):
            raise no_overload()
        if not 0 <= key < len(value):
            raise CelError(f"index out of bounds: {key}")
        return value[key]
    if type(value) is dict:
        if type(key) not in _KEY_TYPES:
            raise no_overload()
        if key not in value:
            raise CelError(f"no such key: {key}")
        return value[key]
    raise no_overload()


def _optional_item(value: Any, key: Any) -> Optional:
    if type(value) is Optional:
        return _optional_item(value.value, key) if value.present else NONE
    try:
        return Optional(_item(value, key), True)
    except CelError as error:
        if str(error).startswith(("no such key", "index out")):
            return NONE
        raise
