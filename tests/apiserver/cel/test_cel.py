"""Expressions and what they give: the language, its libraries, Kubernetes' functions, the bounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.apiserver.cel.parser import ParseError
from fairlead.apiserver.cel.program import CompileError, Program
from fairlead.apiserver.cel.values import NONE, Budget, CelError, Optional, OutOfBudget


def evaluate(text: str, self: Any = None, old: Any = None, units: int = 1_000_000) -> Any:
    return Program(text, ("self", "oldSelf")).evaluate({"self": self, "oldSelf": old}, Budget(units))


SHOP = {
    "name": "shop",
    "namespace": "team",
    "replicas": 3,
    "weight": 0.5,
    "tags": ["a", "b", "a"],
    "labels": {"app": "web", "a-b": "x"},
    "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}],
    "empty": None,
}

TRUE = r"""
self.replicas == 3 && self.name != 'web'
self.replicas >= 3 && self.replicas < 4.5 && self.weight <= 1.0
self.__namespace__ == 'team' && has(self.__namespace__)
self.labels.a__dash__b == 'x'
self.labels['app'] == 'web' && 'app' in self.labels && !('z' in self.labels)
'a' in self.tags && !('z' in self.tags)
!has(self.empty) && self['empty'] == null && !has(self.missing)
self.namespace == 'team' && {'if': 1}.if == 1
size(self.tags) == 3 && self.tags.size() == 3 && 'äö'.size() == 2
self.ports.all(p, p.port > 0) && self.ports.exists(p, p.name == 'https')
self.ports.exists_one(p, p.port == 80) && self.ports.existsOne(p, p.port == 443)
self.ports.map(p, p.name) == ['http', 'https']
self.ports.map(p, p.port > 100, p.name) == ['https']
self.ports.filter(p, p.port > 100).size() == 1
self.labels.all(k, k.startsWith('a')) && self.labels.exists(k, v, v == 'x')
self.tags.all(i, t, i < 3) && self.tags.transformList(i, t, i % 2 == 0, t) == ['a', 'a']
self.labels.transformMap(k, v, v + '!')['app'] == 'web!'
{'a': 1}.transformMapEntry(k, v, {string(v): k}) == {'1': 'a'}
self.?missing.orValue(5) == 5 && self.?name.orValue('x') == 'shop'
self.?missing.?deeper.hasValue() == false
self.labels[?'app'].value() == 'web' && self.tags[?9] == optional.none()
optional.of(1).optMap(x, x + 1).orValue(0) == 2 && optional.none().optFlatMap(x, optional.of(x)) == optional.none()
optional.ofNonZeroValue('').hasValue() == false && optional.none().or(optional.of(2)).value() == 2
[1, ?optional.none(), ?optional.of(3)] == [1, 3] && {?'a': optional.none(), 'b': 1} == {'b': 1}
cel.bind(x, self.replicas * 2, x * x) == 36
self.missing == 1 || self.name == 'shop'
!(self.missing == 1 && self.name == 'web')
(self.replicas > 2 ? 'many' : 'few') == 'many'
7 / -2 == -3 && -7 % 3 == -1 && 7.0 / 2.0 == 3.5 && -3 - -2 == -1
1 == 1.0 && 1u == 1 && 1 != '1' && true != 1
[1, 2] + [3] == [1, 2, 3] && 'a' + 'b' == 'ab' && b'a' + b'b' == b'ab'
b'\u00e4' == b'\xc3\xa4' && b'ä' == b'\303\244'
r'\d' == '\\d' && "\u00e4\x41\101" == 'äAA' && '''a"b''' == 'a"b' && b'\xff' != b'\xfe'
type(1) == int && type('') == string && type(1u) == uint && type([]) == list && type(null) == null_type
int('42') == 42 && int(3.9) == 3 && string(1.5) == '1.5' && double('2') == 2.0 && bool('true') && uint(5) == 5u
0x10 == 16 && 1e3 == 1000.0
'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo') && 'hello'.matches('^h.*o$')
'a/b/c'.split('/') == ['a', 'b', 'c'] && 'a/b/c'.split('/', 2) == ['a', 'b/c'] && ['a', 'b'].join('-') == 'a-b'
'hello'.substring(1, 3) == 'el' && 'hello'.charAt(4) == 'o' && 'hello'.indexOf('l') == 2 && 'hello'.lastIndexOf('l') == 3
'aXb'.lowerAscii() == 'axb' && 'ab'.upperAscii() == 'AB' && ' a '.trim() == 'a' && 'aa'.replace('a', 'b', 1) == 'ba'
'%s is %d and %.2f, %s'.format(['x', 3, 1.5, [1, 'a']]) == 'x is 3 and 1.50, [1, a]'
'abc 123 45'.find('[0-9]+') == '123' && 'abc 123 45'.findAll('[0-9]+') == ['123', '45'] && '1 2'.findAll('[0-9]', 1) == ['1']
[1, 2, 3].isSorted() && [1, 2].sum() == 3 && [3, 1].min() == 1 && [3, 1].max() == 3 && ['a', 'b', 'a'].lastIndexOf('a') == 2
[1, 1, 2].distinct() == [1, 2] && [[1], [2]].flatten() == [1, 2] && [2, 1].sort() == [1, 2] && [1, 2, 3].slice(1, 2) == [2]
lists.range(3) == [0, 1, 2] && [1, 2].reverse() == [2, 1] && [1].first().value() == 1
[3, 1, 2].sortBy(x, -x) == [3, 2, 1]
type(duration('1s')) == google.protobuf.Duration && type(ip('::1')) == net.IP
string(timestamp('2011-08-18T19:03:37.01+01:00')) == '2011-08-18T19:03:37.01+01:00'
url('https://a.example/with space/').getEscapedPath() == '/with%20space/'
sets.contains([1, 2], [1]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 2], [2, 1, 1])
math.greatest(1, 3, 2) == 3 && math.least([2, 1]) == 1 && math.ceil(1.2) == 2.0 && math.bitAnd(6, 3) == 2 && math.abs(-2) == 2
base64.encode(b'hi') == 'aGk=' && base64.decode('aGk=') == b'hi' && strings.quote('a"b') == '"a\\"b"'
duration('1h30m') == duration('90m') && duration('1.5s') > duration('1s') && string(duration('90m')) == '5400s'
timestamp('2024-05-01T10:00:00Z') + duration('1h') == timestamp('2024-05-01T13:00:00+02:00')
timestamp('2024-05-01T10:00:00Z').getFullYear() == 2024 && timestamp('2024-05-01T10:00:00Z').getMonth() == 4
timestamp('2024-05-01T10:00:00Z').getHours('+02:00') == 12 && duration('90m').getMinutes() == 90
isURL('https://a.example:8080/x?y=1') && !isURL('a b') && url('https://a.example:8080/x?y=1').getHost() == 'a.example:8080'
url('https://[::1]:80/x').getHostname() == '::1' && url('https://a.example:80/x').getPort() == '80'
url('https://a.example/x?y=1&y=2').getQuery()['y'] == ['1', '2'] && url('/p/q').getEscapedPath() == '/p/q'
isIP('10.0.0.1') && !isIP('10.0.0.256') && !isIP('::ffff:1.2.3.4') && ip('::1').family() == 6 && ip('127.0.0.1').isLoopback()
ip.isCanonical('2001:db8::1') && !ip.isCanonical('2001:0db8::1') && ip('fe80::1').isLinkLocalUnicast() && ip('8.8.8.8').isGlobalUnicast()
isCIDR('10.0.0.0/8') && cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsIP(ip('10.1.2.3'))
cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.0.0.0/8').prefixLength() == 8 && cidr('10.1.0.0/8').masked() == cidr('10.0.0.0/8')
string(cidr('10.0.0.0/8').ip()) == '10.0.0.0' && string(ip('::1')) == '::1'
isQuantity('1Gi') && !isQuantity('1Xi') && quantity('1k') == quantity('1000') && quantity('1Gi').isGreaterThan(quantity('1G'))
quantity('500m').add(quantity('500m')).asInteger() == 1 && quantity('1').sub(1).sign() == 0 && quantity('2').compareTo(quantity('3')) == -1
quantity('1.5').isInteger() == false && quantity('1.5').asApproximateFloat() == 1.5
format.dns1123Label().validate('my-name') == optional.none() && format.dns1123Label().validate('My_Name').hasValue()
format.named('uuid').value().validate('x').value() == ['does not match the UUID format'] && !format.named('none').hasValue()
isSemver('1.2.3-rc.1') && semver('1.2.3').isGreaterThan(semver('1.2.3-rc.1')) && semver('v1.2', true).minor() == 2
// a comment
"""

ERRORS = [
    ("self.missing == 1", "no such key: missing"),
    ("self.tags[5] == 'a'", "index out of bounds: 5"),
    ("self.labels['z'] == ''", "no such key: z"),
    ("1 / 0 == 1", "division by zero"),
    ("1 % 0 == 1", "modulus by zero"),
    ("9223372036854775807 + 1 > 0", "return error for overflow: integer overflow"),
    ("1 + 1.0 == 2.0", "no such overload"),
    ("'a' < 1", "no such overload"),
    ("self.name && true", "no such overload"),
    ("self.name.size(1) == 1", "no such overload"),
    ("optional.none().value() == 1", "optional.none() dereference"),
    ("quantity('x').sign() == 1", "quantities must match the regular expression"),
    ("ip('fe80::1%eth0').family() == 6", 'IP address "fe80::1%eth0" with zone value is not allowed'),
    ("duration('x') > duration('1s')", 'time: invalid duration "x"'),
    ("uint('" + "9" * 5000 + "') == 1u", 'strconv.ParseUint: parsing "999'),
    ("int('" + "9" * 5000 + "') == 1", 'strconv.ParseInt: parsing "999'),
    ("duration(string(self.replicas) + '" + "9" * 5000 + "s') == duration('1s')", "time: invalid duration"),
    ("semver('v" + "9" * 5000 + "', true).major() == 1", "No Major.Minor.Patch elements found"),
    ("quantity('" + "9" * 5000 + "').sign() == 1", "quantities must match the regular expression"),
    ("[].min() == 1", "min called on empty list"),
    ("self.name.matches('(')", "error parsing regexp"),
    ("self.missing == 1 || self.name == 'web'", "no such key: missing"),
]

WRONG = [
    ("self.x ==", "ERROR: <input>:1:10: Syntax error: mismatched input '<EOF>'"),
    ("self.x = 1", "ERROR: <input>:1:8: Syntax error: token recognition error at: '='"),
    ("(1", "Syntax error: mismatched input '<EOF>' expecting ')'"),
    ("1 2", "Syntax error: extraneous input '2' expecting <EOF>"),
    ("namespace == ''", "reserved identifier: namespace"),
    ("'abc", "the string does not end"),
    ("has(self)", "invalid argument to has() macro"),
    ("[1].all(1, true)", "argument must be a simple name"),
    ("other == 1", "ERROR: <input>:1:1: undeclared reference to 'other' (in container '')\n | other == 1\n | ^"),
    ("self.fly()", "undeclared reference to 'fly' (in container '')"),
    ("fly(self)", "undeclared reference to 'fly' (in container '')"),
    ("[1].map(x, x) == [x]", "undeclared reference to 'x' (in container '')"),
    ("(" * 500 + "1" + ")" * 500, "expression recursion limit exceeded"),
    ("1" + " + 1" * 500, "expression recursion limit exceeded"),
    ("!" * 500 + "true", "expression recursion limit exceeded"),
    ("self" + ".a" * 500, "expression recursion limit exceeded"),
    ("a" * 70000, "expression code point size exceeds limit"),
    ("99999999999999999999 == 1", "invalid int literal"),
    ("9" * 5000 + " == 1", "invalid int literal"),
]


@pytest.mark.parametrize("text", [line for line in TRUE.strip().splitlines() if not line.startswith("//")])
def test_it_is_true(text: str) -> None:
    assert evaluate(text, SHOP) is True


@pytest.mark.parametrize(("text", "problem"), ERRORS)
def test_it_has_no_value(text: str, problem: str) -> None:
    with pytest.raises(CelError) as caught:
        evaluate(text, SHOP)
    assert problem in str(caught.value)


@pytest.mark.parametrize(("text", "problem"), WRONG, ids=lambda value: value[:40])
def test_it_is_no_expression(text: str, problem: str) -> None:
    with pytest.raises((ParseError, CompileError)) as caught:
        Program(text, ("self", "oldSelf"))
    assert problem in str(caught.value)


def test_optional_variables() -> None:
    text = "oldSelf.hasValue() ? self >= oldSelf.value() : self == 1"
    assert evaluate(text, 1, NONE) is True
    assert evaluate(text, 1, Optional(2, True)) is False
    assert Program(text, ("self", "oldSelf")).names == {"self", "oldSelf"}
    assert Program("self == 1", ("self", "oldSelf")).names == {"self"}


@pytest.mark.parametrize(
    "text",
    [
        "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))",
        "self.map(a, self.map(b, self.map(c, c))).size() > 0",
        "lists.range(1000000000).size() > 0",
        "['x'].map(a, self.map(b, string(b)).join('x').replace('', self.map(b, 'y').join(''))).size() > 0",
        "cel.bind(t, self.map(a, 'xxxxxxxxxx').join(''), self.map(a, t).join('') == '')",
        "cel.bind(t, self.map(a, 'xxxxxxxxxx').join(''), '%s'.format([self.map(a, t)]) == '')",
        "self.map(a, 'x').join('y').matches('(x|y)*z')  || self.all(a, self.exists_one(b, b == a))",
    ],
)
def test_a_rule_beyond_its_budget_ends(text: str) -> None:
    with pytest.raises(OutOfBudget):
        evaluate(text, list(range(2000)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None)
@given(JSON, JSON)
def test_equality_is_reflexive_symmetric_and_agrees_with_order(left: Any, right: Any) -> None:
    assert evaluate("self == self", left)
    assert evaluate("self == oldSelf", left, right) == evaluate("oldSelf == self", left, right)
    if isinstance(left, int) and isinstance(right, int) and type(left) is type(right):
        assert evaluate("(self < oldSelf) || (self > oldSelf) || self == oldSelf", left, right)


PIECES = st.sampled_from(
    "self . ( ) [ ] { } , : ? + - * / % ! && || == < in 'a' \"b\" 1 1u 2.5 true null has all exists map x size matches \\ ` ' r''' //".split()
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=12).map(" ".join) | st.text(max_size=20), JSON)
def test_any_text_has_a_value_or_a_reason(text: str, value: Any) -> None:
    try:
        evaluate(text, value)
    except (ParseError, CompileError, CelError, OutOfBudget):
        return
