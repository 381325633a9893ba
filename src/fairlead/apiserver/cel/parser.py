"""From text to tree: the grammar of the CEL specification with macros, optional syntax and two-variable comprehensions.

Bounded: texts beyond 64 KiB and deep nesting are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

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
from fairlead.apiserver.cel.values import INT_MAX, INT_MIN, UINT_MAX, Unsigned

LONGEST = 1 << 16
DEEPEST = 100
"""Levels of parentheses in a text."""
TALLEST = 200
"""Levels of a tree; long chains of operators are levels, too."""

RESERVED = frozenset(
    "as break const continue else false for function if import in let loop null package namespace return true var void while".split()
)

_KEYWORDS = frozenset({"true", "false", "null", "in"})

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f]+|//[^\n]*)
    | (?P<string>(?:[rR][bB]?|[bB][rR]?)?(?:\"\"\"|'''|"|'))
    | (?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
    | (?P<int>0[xX][0-9a-fA-F]+[uU]?|\d+[uU]?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<quoted>`[A-Za-z0-9_.\-/ ]+`)
    | (?P<mark>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\?\"'`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|)"
)
_OCTETS = 0xDC00
_MOST_DIGITS = 30
_PLAIN_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class ParseError(ValueError):
    """A text that is no expression, or none that fits; the message shows the place as the reference implementation does."""

    def __init__(self, text: str, at: int, problem: str) -> None:
        super().__init__(located(text, at, problem))


def located(text: str, at: int, problem: str) -> str:
    """Return `problem` with line, column and the line itself."""
    line = text.count("\n", 0, at) + 1
    start = text.rfind("\n", 0, at) + 1
    shown = text[start:].partition("\n")[0]
    column = at - start
    return f"ERROR: <input>:{line}:{column + 1}: {problem}\n | {shown}\n | {'.' * column}^"


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `kind` is string, bytes, float, int, name, quoted, mark or end."""

    kind: str
    text: str
    at: int


def tokens(text: str) -> list[Token]:
    """Return the tokens of `text`, strings unescaped; raises ParseError."""
    if len(text) > LONGEST:
        raise ParseError(text[:80], 0, f"expression code point size exceeds limit: size: {len(text)}, limit {LONGEST}")
    found = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ParseError(text, position, f"Syntax error: token recognition error at: '{text[position]}'")
        kind = match.lastgroup or ""
        if kind == "string":
            token, position = _string(text, position, match.group())
            found.append(token)
            continue
        if kind != "space":
            found.append(Token(kind, match.group(), position))
        position = match.end()
    return [*found, Token("end", "<EOF>", len(text))]


def _string(text: str, at: int, opening: str) -> tuple[Token, int]:
    mark = opening.lstrip("rRbB")
    prefix = opening[: len(opening) - len(mark)].lower()
    start = position = at + len(opening)
    while not text.startswith(mark, position):
        if position >= len(text) or (len(mark) == 1 and text[position] in "\r\n"):
            raise ParseError(text, at, "Syntax error: token recognition error: the string does not end")
        position += 2 if text[position] == "\\" and "r" not in prefix else 1
    content = text[start:position]
    if "r" not in prefix:
        content = _unescape(text, at, content, as_bytes="b" in prefix)
    return Token("bytes" if "b" in prefix else "string", content, at), position + len(mark)


def _unescape(text: str, at: int, content: str, *, as_bytes: bool) -> str:
    def replace(match: re.Match[str]) -> str:
        plain, hexadecimal, short, long, octal = match.groups()
        if plain:
            return _PLAIN_ESCAPES.get(plain, plain)
        digits = hexadecimal or short or long
        if digits is None and octal is None:
            raise ParseError(text, at, "Syntax error: invalid escape in a string")
        code = int(digits, 16) if digits else int(octal, 8)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise ParseError(text, at, "Syntax error: invalid code point in a string")
        # Octets of bytes travel as surrogates to where the literal is made.
        return chr(_OCTETS + code) if as_bytes and code > 127 and not (short or long) else chr(code)

    return _ESCAPE.sub(replace, content)


def parse(text: str) -> Expr:
    """Return the tree of `text`; raises ParseError."""
    parser = _Parser(text)
    found = parser.expression()
    if parser.token.kind != "end":
        parser.fail(f"Syntax error: extraneous input '{parser.token.text}' expecting <EOF>")
    _check_height(text, found)
    return found


def _check_height(text: str, root: Expr) -> None:
    todo = [(root, 1)]
    while todo:
        expr, height = todo.pop()
        if height > TALLEST:
            raise ParseError(text, expr.at, f"expression recursion limit exceeded: {TALLEST}")
        todo += [(below, height + 1) for below in children(expr)]


_STRENGTH = {
    "||": 0,
    "&&": 1,
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!=", "in"), 2),
    **dict.fromkeys(("+", "-"), 3),
    **dict.fromkeys(("*", "/", "%"), 4),
}


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.position = 0
        self.nesting = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.position]

    def fail(self, problem: str, at: int | None = None) -> NoReturn:
        raise ParseError(self.text, self.token.at if at is None else at, problem)

    def accept(self, *marks: str) -> Token | None:
        token = self.token
        if token.kind == "mark" and token.text in marks:
            self.position += 1
            return token
        return None

    def expect(self, mark: str) -> Token:
        return self.accept(mark) or self.fail(f"Syntax error: mismatched input '{self.token.text}' expecting '{mark}'")

    # Operators.

    def expression(self) -> Expr:
        self.enter()
        found = self.binary(0)
        if (mark := self.accept("?")) is not None:
            yes = self.binary(0)
            self.expect(":")
            found = Call(mark.at, "_?_:_", (found, yes, self.expression()))
        self.nesting -= 1
        return found

    def enter(self) -> None:
        self.nesting += 1
        if self.nesting > DEEPEST:
            self.fail(f"expression recursion limit exceeded: {DEEPEST}")

    def binary(self, weakest: int) -> Expr:
        found = self.unary()
        while True:
            token = self.token
            strength = _STRENGTH.get(token.text, -1) if token.kind in ("mark", "name") else -1
            if strength < weakest:
                return found
            self.position += 1
            name = "@in" if token.text == "in" else f"_{token.text}_"
            found = Call(token.at, name, (found, self.binary(strength + 1)))

    def unary(self) -> Expr:
        if (mark := self.accept("!")) is not None:
            return self.negated(mark, "!_")
        if (mark := self.accept("-")) is not None:
            if self.token.kind in ("int", "float"):
                return self.member(self.number("-"))
            return self.negated(mark, "-_")
        return self.member(self.primary())

    def negated(self, mark: Token, name: str) -> Expr:
        self.enter()
        found = Call(mark.at, name, (self.unary(),))
        self.nesting -= 1
        return found

    # Members and primaries.

    def member(self, found: Expr) -> Expr:
        while True:
            if (mark := self.accept(".")) is not None:
                optional = self.accept("?") is not None
                name = self.identifier(quoted=True)
                if not optional and self.accept("(") is not None:
                    found = self.method(mark.at, found, name)
                else:
                    found = Select(mark.at, found, name, optional=optional)
            elif (mark := self.accept("[")) is not None:
                optional = self.accept("?") is not None
                key = self.expression()
                self.expect("]")
                found = Index(mark.at, found, key, optional=optional)
            else:
                return found

    def identifier(self, *, quoted: bool = False) -> str:
        token = self.token
        if token.kind == "quoted" and quoted:
            self.position += 1
            return token.text[1:-1]
        # Reserved words may name fields; the words of the language may not.
        if token.kind != "name" or token.text in (_KEYWORDS if quoted else RESERVED):
            if token.kind == "name" and token.text not in _KEYWORDS:
                self.fail(f"reserved identifier: {token.text}")
            self.fail(f"Syntax error: mismatched input '{token.text}' expecting IDENTIFIER")
        self.position += 1
        return token.text

    def primary(self) -> Expr:
        token = self.token
        match token.kind:
            case "int" | "float":
                return self.number("")
            case "string":
                self.position += 1
                return Literal(token.at, token.text)
            case "bytes":
                self.position += 1
                return Literal(token.at, _octets(token.text))
            case "name":
                return self.named()
            case "mark":
                if self.accept("(") is not None:
                    found = self.expression()
                    self.expect(")")
                    return found
                if self.accept("[") is not None:
                    return self.list_literal(token.at)
                if self.accept("{") is not None:
                    return self.map_literal(token.at)
                if self.accept(".") is not None:
                    return self.named()
        return self.fail(f"Syntax error: mismatched input '{token.text}' expecting an expression")

    def number(self, sign: str) -> Expr:
        token = self.token
        self.position += 1
        text = token.text
        if token.kind == "float":
            return Literal(token.at, float(sign + text))
        unsigned = text[-1] in "uU"
        if len(text) > _MOST_DIGITS:
            self.fail(f"invalid {'uint' if unsigned else 'int'} literal", token.at)
        value = int(sign + text.rstrip("uU"), 16 if text[:2] in ("0x", "0X") else 10)
        if unsigned:
            if not 0 <= value <= UINT_MAX:
                self.fail("invalid uint literal", token.at)
            return Literal(token.at, Unsigned(value))
        if not INT_MIN <= value <= INT_MAX:
            self.fail("invalid int literal", token.at)
        return Literal(token.at, value)

    def named(self) -> Expr:
        token = self.token
        if token.text in ("true", "false", "null") and token.kind == "name":
            self.position += 1
            return Literal(token.at, {"true": True, "false": False, "null": None}[token.text])
        name = self.identifier()
        if self.accept("(") is None:
            return Name(token.at, name)
        args = self.arguments(")")
        if name == "has" and len(args) == 1:
            (operand,) = args
            if not isinstance(operand, Select):
                self.fail("invalid argument to has() macro", token.at)
            return Select(operand.at, operand.operand, operand.field, test=True)
        return Call(token.at, name, args)

    def arguments(self, end: str) -> tuple[Expr, ...]:
        found: list[Expr] = []
        if self.accept(end) is not None:
            return ()
        while True:
            found.append(self.expression())
            if self.accept(",") is None:
                self.expect(end)
                return tuple(found)

    def list_literal(self, at: int) -> Expr:
        items: list[Expr] = []
        optional = set()
        while self.accept("]") is None:
            if self.accept("?") is not None:
                optional.add(len(items))
            items.append(self.expression())
            if self.accept(",") is None:
                self.expect("]")
                break
        return ListLiteral(at, tuple(items), frozenset(optional))

    def map_literal(self, at: int) -> Expr:
        entries: list[tuple[Expr, Expr]] = []
        optional = set()
        while self.accept("}") is None:
            if self.accept("?") is not None:
                optional.add(len(entries))
            key = self.expression()
            self.expect(":")
            entries.append((key, self.expression()))
            if self.accept(",") is None:
                self.expect("}")
                break
        return MapLiteral(at, tuple(entries), frozenset(optional))

    # Macros.

    def method(self, at: int, target: Expr, name: str) -> Expr:
        args = self.arguments(")")
        count = len(args)
        if name in ("all", "exists", "exists_one", "existsOne") and count in (2, 3):
            kind = "existsOne" if name == "exists_one" else name
            return Comprehension(at, kind, target, *self.variables(args[: count - 1]), args[-1])
        if name == "filter" and count == 2:
            return Comprehension(at, name, target, *self.variables(args[:1]), args[1])
        if name == "map" and count in (2, 3):
            condition = args[1] if count == 3 else None
            return Comprehension(at, name, target, *self.variables(args[:1]), args[-1], condition)
        if name == "sortBy" and count == 2:
            return Comprehension(at, name, target, *self.variables(args[:1]), args[1])
        if name in ("transformList", "transformMap", "transformMapEntry") and count in (3, 4):
            condition = args[2] if count == 4 else None
            return Comprehension(at, name, target, *self.variables(args[:2]), args[-1], condition)
        if name in ("optMap", "optFlatMap") and count == 2:
            return Bind(at, name, self.variables(args[:1])[0], target, args[1])
        if name == "bind" and count == 3 and isinstance(target, Name) and target.name == "cel":
            return Bind(at, name, self.variables(args[:1])[0], args[1], args[2])
        return Call(at, name, args, target)

    def variables(self, args: tuple[Expr, ...]) -> tuple[str, str | None]:
        names = []
        for arg in args:
            if not isinstance(arg, Name):
                self.fail("argument must be a simple name", arg.at)
            names.append(arg.name)
        if len(set(names)) < len(names):
            self.fail("the variables of a macro need different names", args[0].at)
        return names[0], names[1] if len(names) > 1 else None


def _octets(text: str) -> bytes:
    return b"".join(
        bytes([ord(one) - _OCTETS]) if _OCTETS <= ord(one) < _OCTETS + 256 else one.encode() for one in text
    )
