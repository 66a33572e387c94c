"""Conditions: one language for `{if …}` in templates and for `if:` in a catalog.

Owns: the grammar of conditions, what each comparison means, and their compilation. Reads and writes nothing. Never
decides what a name's value is: the caller brings a mapping of names to texts, in which a missing name is an empty one.

    condition = both { "or" both } ;
    both      = test { "and" test } ;
    test      = "not" test | "(" condition ")" | asked | operand relation ;    (* a name alone: it is not empty *)
    relation  = ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) operand
              | [ "not" ] "in" "(" operand { "," operand } ")"
              | [ "not" ] "matches" patterns | [ "not" ] "within" networks ;
    operand   = asked | quoted | number ;
    asked     = name { "|" filter } ;                                          (* but for the words of conditions *)
    patterns  = quoted | "(" quoted { "," quoted } ")" ;                       (* `*` is any characters *)
    networks  = network | "(" network { "," network } ")" ;
    network   = "'" ? an address, or a network such as 10.0.0.0/8 ? "'" ;
    number    = [ "+" | "-" ] ( digit { digit } [ "." { digit } ] | "." digit { digit } ) ;

What is not here stands in syntax.py. Two numbers are compared as numbers (`10 == '10.00'`), other texts as texts; `<`
and its like are false where a side is no number. A filter that cannot take its value gives an empty text.

A condition becomes one Python function when it is first asked. The text of that function is made of fixed words and
of names numbered by us (`k0`, `k1`, …); whatever a user wrote is bound to those names as a value (decision 0020).
"""

import ipaddress
import re
from collections.abc import Callable, Container, Mapping
from typing import NamedTuple

from waypost.macros.filters import NOTHING, build_filter
from waypost.macros.numbers import number_of
from waypost.macros.scanner import Call, MacroError, Scanner, ValueRefusedError

EXPRESSION_BYTES_MAX = 8192
DEPTH_MAX = 32
VALUE_LENGTH_MAX = 65536

WORDS = frozenset({"and", "or", "not", "in", "matches", "within"})

_SIGN = re.compile(r"==|!=|<=|>=|<|>")
_NUMERAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)", re.ASCII)
_AFTER_NUMERAL = re.compile(r"[\w.\-]")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_ADDRESS_LENGTH_MAX = 64

Holds = Callable[[Mapping[str, str]], bool]


class Name(NamedTuple):
    """A macro's value, and the filters it passes through."""

    name: str
    calls: tuple[Call, ...]
    column: int


class Text(NamedTuple):
    """A text or number that was written out."""

    text: str


Operand = Name | Text


class Exists(NamedTuple):
    """The operand is not empty."""

    operand: Operand


class Compare(NamedTuple):
    """`sign` is one of == != < <= > >=."""

    sign: str
    left: Operand
    right: Operand


class Among(NamedTuple):
    """The operand equals one of the others."""

    operand: Operand
    others: tuple[Operand, ...]


class Matches(NamedTuple):
    """The operand has the form of one of the patterns."""

    operand: Operand
    patterns: tuple[str, ...]


class Within(NamedTuple):
    """The operand is an address in one of the networks."""

    operand: Operand
    networks: tuple[str, ...]
    column: int


class Not(NamedTuple):
    """The test does not hold."""

    test: "Condition"


class Every(NamedTuple):
    """All of the tests hold."""

    tests: tuple["Condition", ...]


class Some(NamedTuple):
    """One of the tests holds, or several."""

    tests: tuple["Condition", ...]


Condition = Exists | Compare | Among | Matches | Within | Not | Every | Some


class Expression:
    """A compiled condition. `names` are those it asks for, each once, in the order of their first use.

    `holds(values)` says whether it holds; it never raises.
    """

    __slots__ = ("_built", "condition", "holds", "names", "place", "text")

    holds: Holds

    def __init__(self, text: str, condition: Condition, *, place: str = "") -> None:
        self.text = text
        self.place = place
        self.condition = condition
        self.names = tuple(dict.fromkeys(name for name, _ in names_of(condition)))
        self._built: Holds | None = None
        self.holds = self._first

    def _first(self, values: Mapping[str, str]) -> bool:
        # Compiled when it is first asked: a catalog is checked without compiling what it never runs.
        if self._built is None:
            self._built = self.holds = Builder().build(self.condition)
        return self._built(values)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def compile_expression(
    text: str,
    *,
    names: Container[str] | None = None,
    place: str = "",
    bytes_max: int = EXPRESSION_BYTES_MAX,
) -> Expression:
    """Compile a condition; `names` are those that it may use (None: any). Time is linear in the text's length.

    Raises MacroError (a WaypostError with `column`): `macro_syntax`, `macro_unknown`, `macro_unknown_filter`,
    `macro_bad_argument`, `macro_too_large`.
    """
    if len(text) > bytes_max or len(text.encode("utf-8", "surrogatepass")) > bytes_max:
        raise MacroError("macro_too_large", f"the condition is over {bytes_max} bytes", place=place)
    scanner = Scanner(text, place)
    condition = parse_condition(scanner)
    if scanner.peek():
        scanner.fail(f"{scanner.peek()!r} is not expected here", hint="conditions are joined with and, or")
    check_condition(condition, names=names, place=place)
    return Expression(text, condition, place=place)


def check_condition(condition: Condition, *, names: Container[str] | None, place: str = "") -> None:
    """Raises MacroError where a name or a filter does not exist, or a network is none."""
    for name, column in names_of(condition):
        if names is not None and name not in names:
            hint = getattr(names, "hint", None)
            detail = f"nothing is called {name[:64]} in {getattr(names, 'title', 'this condition')}"
            raise MacroError("macro_unknown", detail, column=column, place=place, hint=hint(name) if hint else "")
    for operand in _names(condition):
        for call in operand.calls:
            step = build_filter(call, place=place)
            if step.needs_rates or any(source.secret for source in step.sources):
                detail = "conditions convert no amounts and use no secrets"
                raise MacroError("macro_bad_argument", detail, column=call.column, place=place)
    for test in _tests(condition):
        if isinstance(test, Within):
            try:
                _networks(test.networks)
            except ValueError as error:
                hint = "such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"
                raise MacroError("macro_syntax", str(error), column=test.column, place=place, hint=hint) from error


def names_of(condition: Condition) -> list[tuple[str, int]]:
    """Every name that the condition uses, with its column, in the order in which they are written."""
    found = []
    for operand in _names(condition):
        found.append((operand.name, operand.column))
        for argument in (argument for call in operand.calls for argument in call.arguments):
            if argument.source is not None and not argument.source.secret:
                found.append((argument.source.name, argument.column))
    return found


def _names(condition: Condition) -> list[Name]:
    found: list[Operand] = []
    for test in _tests(condition):
        if isinstance(test, Compare):
            found += (test.left, test.right)
        elif isinstance(test, Among):
            found += (test.operand, *test.others)
        elif isinstance(test, Exists | Matches | Within):
            found.append(test.operand)
    return [operand for operand in found if isinstance(operand, Name)]


def _tests(condition: Condition) -> list[Condition]:
    if isinstance(condition, Not):
        return _tests(condition.test)
    if isinstance(condition, Every | Some):
        return [leaf for test in condition.tests for leaf in _tests(test)]
    return [condition]


# --- the grammar -------------------------------------------------------------------------------------------


def parse_condition(scanner: Scanner, depth: int = 1) -> Condition:
    """The condition that begins where the scanner stands, which then stands behind it and its white space."""
    tests = [_both(scanner, depth)]
    while _take_word(scanner, "or"):
        tests.append(_both(scanner, depth))
    return tests[0] if len(tests) == 1 else Some(tuple(tests))


def _both(scanner: Scanner, depth: int) -> Condition:
    tests = [_test(scanner, depth)]
    while _take_word(scanner, "and"):
        tests.append(_test(scanner, depth))
    return tests[0] if len(tests) == 1 else Every(tuple(tests))


def _test(scanner: Scanner, depth: int) -> Condition:
    scanner.space()
    if depth > DEPTH_MAX:
        scanner.fail(f"not and ( are more than {DEPTH_MAX} deep", code="macro_too_large")
    if _take_word(scanner, "not"):
        return Not(_test(scanner, depth + 1))
    column = scanner.at + 1
    if scanner.take_sign("("):
        condition = parse_condition(scanner, depth + 1)
        if not scanner.take_sign(")"):
            scanner.fail("a ( has no closing )" if not scanner.peek() else f"{scanner.peek()!r} is not expected here")
        scanner.space()
        return condition
    left = _operand(scanner)
    sign = scanner.match(_SIGN)
    if sign:
        return Compare(sign, left, _operand(scanner))
    if scanner.peek() == "=":
        scanner.fail("= is no comparison", hint="write ==")
    negated = _take_word(scanner, "not")
    relation = _relation(scanner, left)
    if relation is not None:
        return Not(relation) if negated else relation
    if negated:
        scanner.fail("in, matches or within is missing after not")
    if isinstance(left, Text):
        scanner.fail("a text by itself is no condition", hint="names are written without quotes", column=column)
    return Exists(left)


def _relation(scanner: Scanner, left: Operand) -> Condition | None:
    if _take_word(scanner, "in"):
        if not scanner.take_sign("("):
            scanner.fail("in needs a list", hint="such as: goal in ('a', 'b')")
        others = [_operand(scanner)]
        while scanner.take_sign(","):
            others.append(_operand(scanner))
        _close_list(scanner)
        return Among(left, tuple(others))
    if _take_word(scanner, "matches"):
        return Matches(left, _quoted_list(scanner, "matches", "source matches 'ad-*'"))
    column = scanner.at + 1
    if _take_word(scanner, "within"):
        return Within(left, _quoted_list(scanner, "within", "ip within '10.0.0.0/8'"), column)
    return None


def _operand(scanner: Scanner) -> Operand:
    scanner.space()
    column = scanner.at + 1
    text = scanner.take_quoted()
    if text is None:
        text = scanner.match(_NUMERAL) or None
        if text and _AFTER_NUMERAL.match(scanner.peek()):
            scanner.fail(f"{scanner.peek()!r} stands right behind the number {text[:40]}", hint="put texts in '…'")
    if text is not None:
        scanner.space()
        return Text(text)
    name = scanner.take_name()
    if name in WORDS or not name:
        sign = name or scanner.peek()
        scanner.at = column - 1
        what = f"{sign!r} stands where" if sign else "the condition ends where"
        scanner.fail(f"{what} a name, number or text should", hint="texts are written in '…'")
    return Name(name, scanner.take_calls(), column)


def _quoted_list(scanner: Scanner, word: str, example: str) -> tuple[str, ...]:
    is_list = scanner.take_sign("(")
    found = []
    while True:
        scanner.space()
        text = scanner.take_quoted()
        if text is None:
            scanner.fail(f"{word} needs a text in quotes", hint=f"such as: {example}")
        found.append(text)
        scanner.space()
        if not is_list or not scanner.take_sign(","):
            break
    if is_list:
        _close_list(scanner)
    return tuple(found)


def _close_list(scanner: Scanner) -> None:
    if not scanner.take_sign(")"):
        sign = scanner.peek()
        scanner.fail(f"{sign!r} is not expected in a list" if sign else "a list has no closing )")
    scanner.space()


def _take_word(scanner: Scanner, word: str) -> bool:
    """Passes the word and the white space around it, unless it is only the beginning of a longer one."""
    scanner.space()
    if not scanner.text.startswith(word, scanner.at):
        return False
    start = scanner.at
    if scanner.match(_WORD) != word:
        scanner.at = start
        return False
    scanner.space()
    return True


# --- what the comparisons mean ---------------------------------------------------------------------------


def equal(left: str, right: str) -> bool:
    """As numbers where both are, otherwise as texts."""
    if left == right:
        return True
    one = number_of(left)
    return one is not None and one == number_of(right)


def is_less(left: str, right: str) -> bool:
    one, other = number_of(left), number_of(right)
    return one is not None and other is not None and one < other


def is_less_or_equal(left: str, right: str) -> bool:
    one, other = number_of(left), number_of(right)
    return one is not None and other is not None and one <= other


def has_form(text: str, parts: tuple[str, ...]) -> bool:
    """Whether a text is these parts with anything between them; linear in the text's length for each part."""
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return text == first
    if not (text.startswith(first) and text.endswith(last) and len(text) >= len(first) + len(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for part in parts[1:-1]:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


class _Networks:
    """Networks by the length of their prefix, so that a look-up costs the same for one and for a thousand."""

    def __init__(self) -> None:
        self.by_shift: tuple[dict[int, set[int]], dict[int, set[int]]] = ({}, {})

    def add(self, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
        shift = network.max_prefixlen - network.prefixlen
        table = self.by_shift[network.version == 6]
        table.setdefault(shift, set()).add(int(network.network_address) >> shift)

    def holds(self, text: str) -> bool:
        if len(text) > _ADDRESS_LENGTH_MAX:
            return False
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        value = int(address)
        return any(value >> shift in known for shift, known in self.by_shift[address.version == 6].items())


def _networks(texts: tuple[str, ...]) -> _Networks:
    networks = _Networks()
    for text in texts:
        try:
            networks.add(ipaddress.ip_network(text))
        except ValueError as error:
            raise ValueError(f"{text[:64]!r} is no address or network") from error
    return networks


# --- compilation -----------------------------------------------------------------------------------------


class Builder:
    """Writes a condition as a Python expression over numbered names, and binds what was written to them."""

    def __init__(self) -> None:
        self.bound: dict[str, object] = {
            "__builtins__": {}, "equal": equal, "is_less": is_less, "is_less_or_equal": is_less_or_equal,
            "has_form": has_form, "number_of": number_of,
        }  # fmt: skip

    def build(self, condition: Condition) -> Holds:
        source = f"lambda values: {self.test(condition)}"
        built: Holds = eval(compile(source, "<condition>", "eval"), self.bound)
        return built

    def bind(self, value: object) -> str:
        name = f"k{len(self.bound)}"
        self.bound[name] = value
        return name

    def test(self, condition: Condition) -> str:
        if isinstance(condition, Some):
            return "(" + " or ".join(map(self.test, condition.tests)) + ")"
        if isinstance(condition, Every):
            return "(" + " and ".join(map(self.test, condition.tests)) + ")"
        if isinstance(condition, Not):
            return f"(not {self.test(condition.test)})"
        if isinstance(condition, Exists):
            return f"({self.operand(condition.operand)} != '')"
        if isinstance(condition, Compare):
            return self.compare(condition.sign, condition.left, condition.right)
        if isinstance(condition, Among):
            return self.among(condition)
        if isinstance(condition, Within):
            return f"{self.bind(_networks(condition.networks).holds)}({self.operand(condition.operand)})"
        return self.matches(condition)

    def operand(self, operand: Operand) -> str:
        if isinstance(operand, Text):
            return self.bind(operand.text)
        if operand.calls:
            return f"{self.bind(_filtered(operand))}(values)"
        return f"values.get({self.bind(operand.name)}, '')"

    def compare(self, sign: str, left: Operand, right: Operand) -> str:
        if sign in (">", ">="):
            return self.compare("<" if sign == ">" else "<=", right, left)
        one, other = self.operand(left), self.operand(right)
        if sign == "<":
            return f"is_less({one}, {other})"
        if sign == "<=":
            return f"is_less_or_equal({one}, {other})"
        if any(isinstance(side, Text) and number_of(side.text) is None for side in (left, right)):
            return f"({one} {sign} {other})"  # one side is no number: only the same text equals it
        return f"equal({one}, {other})" if sign == "==" else f"(not equal({one}, {other}))"

    def among(self, test: Among) -> str:
        texts = frozenset(other.text for other in test.others if isinstance(other, Text))
        numbers = frozenset(number for text in texts if (number := number_of(text)) is not None)
        value = self.operand(test.operand)
        parts = [f"({value} in {self.bind(texts)})"] if texts else []
        if numbers:
            parts.append(f"(number_of({value}) in {self.bind(numbers)})")
        parts += [self.compare("==", test.operand, other) for other in test.others if isinstance(other, Name)]
        return "(" + " or ".join(parts) + ")"

    def matches(self, test: Matches) -> str:
        value = self.operand(test.operand)
        forms = [self.bind(tuple(pattern.split("*"))) for pattern in test.patterns]
        return "(" + " or ".join(f"has_form({value}, {form})" for form in forms) + ")"


def _filtered(operand: Name) -> Callable[[Mapping[str, str]], str]:
    name = operand.name
    steps = [build_filter(call) for call in operand.calls]

    def value_of(values: Mapping[str, str]) -> str:
        value = values.get(name, "")
        try:
            for step in steps:
                if value or step.takes_empty:
                    apply = step.resolve(values, NOTHING) if step.resolve else step.apply
                    value = apply(value)
                    if len(value) > VALUE_LENGTH_MAX:
                        return ""
        except ValueRefusedError:
            return ""
        return value

    return value_of
