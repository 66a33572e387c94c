"""Whatever text is written: a template, a condition, another system's template, a header: it is read, or said why not.

An input: a byte that says what the text is, and the text.
"""

from collections.abc import Iterator

from fuzz.connections import prefaced
from fuzz.fuzzed_door import must
from waypost.doors.encodings import decoded
from waypost.doors.proxies import Proxies
from waypost.engines.visitors.facts import language_of
from waypost.errors import ERRORS, WaypostError
from waypost.macros.dialects import DIALECTS
from waypost.macros.dialects.guess import guess
from waypost.macros.dialects.postbacks import translate_postback
from waypost.macros.encoding import Position
from waypost.macros.expression import compile_expression
from waypost.macros.scanner import MacroError
from waypost.macros.template import OUTPUT_BYTES_MAX, Context, compile_template
from waypost.stages.addresses import parse_address
from waypost.stages.visitor_data import origin_of

POSITIONS = tuple(Position)
NAMES = tuple(sorted(DIALECTS))
VALUES: tuple[dict[str, str], ...] = (
    {},
    {"sub1": "a&b=\r\n'\"<\x00é", "payout": "1.20", "status": "approved", "click.x": "y" * 50, "country": "DE"},
)
CONTEXT = Context(secrets=lambda reference: "k&" + reference)
HOLDS = ("macro_value", "macro_no_value", "macro_no_rate", "macro_too_large")
UNPACKED_MAX = 10_000


class Texts:
    """The check; made once a process."""

    def __init__(self) -> None:
        self._proxies = [Proxies(("10.0.0.0/8", "2001:db8::/32"), name) for name in ("X-Forwarded-For", "Forwarded")]

    def __call__(self, data: bytes) -> None:
        if not data:
            return
        kind, raw = data[0], data[1:]
        text = raw.decode("utf-8", "surrogateescape")
        if kind % 4 == 0:
            self._template(text, POSITIONS[kind // 4 % len(POSITIONS)])
        elif kind % 4 == 1:
            self._condition(text)
        elif kind % 4 == 2:
            self._foreign(text, NAMES[kind // 4 % len(NAMES)])
        else:
            self._headers(raw, kind // 4)

    def _template(self, text: str, position: Position) -> None:
        try:
            template = compile_template(text, position=position)
        except MacroError as error:
            must(error.code in ERRORS and 0 <= error.column <= len(text) + 1, "a fault has a code and a column", error)
            return
        again = compile_template(template.text, position=position)
        must(again.names == template.names, "the same text is the same template")
        for values in VALUES:
            said = []
            for render in (template.render, template.render_carefully):
                try:
                    said.append(render(values, CONTEXT))
                except WaypostError as error:
                    must(error.code in HOLDS, "a render fails with a code", error)
                    said.append(error.code)
            must(said[0] == said[1], "both ways render the same", said)
            must(len(said[0].encode("utf-8", "surrogatepass")) <= OUTPUT_BYTES_MAX, "what is rendered is bounded")

    def _condition(self, text: str) -> None:
        try:
            condition = compile_expression(text)
        except MacroError as error:
            must(error.code in ERRORS and 0 <= error.column <= len(text) + 1, "a fault has a code and a column", error)
            return
        again = compile_expression(condition.text)
        for values in VALUES:
            held = condition.holds(values)
            must(held in (True, False) and held == again.holds(values), "a condition holds or does not", held)

    def _foreign(self, text: str, name: str) -> None:
        guess(text)
        found = translate_postback(DIALECTS[name], text)
        must(all(problem.code in ERRORS for problem in found.problems), "a problem has a code", found)

    def _headers(self, raw: bytes, nth: int) -> None:
        prefaced(raw)
        for proxies in self._proxies:
            address = proxies.origin("10.0.0.1", raw)
            must(parse_address(address) is not None and "%" not in address, "an address is an address", address)
        language = language_of(raw)
        must(
            language == "" or (len(language) == 2 and language.isalpha() and language.islower()), "a language", language
        )
        origin = origin_of(raw)
        must(origin == "" or (origin.isascii() and origin.isprintable() and " " not in origin), "an origin", origin)
        try:
            unpacked = decoded(raw, (b"gzip", b"zstd", b"", b"br")[nth % 4], UNPACKED_MAX)
        except WaypostError as error:
            must(error.code in ERRORS, "a body that cannot be unpacked is refused with a code", error)
        else:
            must(len(unpacked) <= UNPACKED_MAX or nth % 4 == 2, "what is unpacked is bounded", len(unpacked))


def seeds() -> Iterator[bytes]:
    """Texts of every kind."""
    import gzip

    import zstandard

    templates = [
        "https://a.example/{sub1}?p={payout|round(2)}&s={status|map(approved=lead, *='x&y')}#{country}",
        "http://a.example/?{?sub1}x={sub1!}{end}&y={sub2?}&z={sub3|default({sub1})}",
        "{{if status == 'approved' and sub1 in ('a', 'b')}}https://a.example/{{else}}x{{end}}",
        "https://a.example/?s={secret('env:A')}&h={sub1|hmac_sha256('env:A')}&m={sub1|md5|upper}&j={sub1|json}",
        '{"a": "{sub1}", "b": [{payout}, {click.x|urldecode}]}',
        "<a b='{sub1}'>{sub2}</a>",
    ]
    conditions = [
        "country|lower == 'de' and (os_version >= 12 or not sub1)",
        "ip within ('10.0.0.0/8', '2001:db8::/32') or sub1 matches 'fb-*'",
        "sub1 not in ('a', 'b') and payout > 1.5 and click.x",
    ]
    foreign = [
        "https://a.example/?c={subid}&p={revenue}&s={status}", "https://a.example/?c={{clickid}}&t=[CLICK_ID]&x=${PAYOUT}",
        "https://a.example/?c={transaction_id}&a=%%x%%&b=<click>&d=#aff_sub#", "https://a.example/?x={{ad.id}}&y=__CALLBACK__",
    ]  # fmt: skip
    headers = [
        b"203.0.113.9, 10.2.2.2", b'for="[2001:dead::1]:80";proto=https, for=10.0.0.2', b"fe80::1%eth0, 10.0.0.1",
        b"PROXY TCP6 fe80::1%25x ::1 1 2\r\n", b"de-DE,en;q=0.8", b"https://[::1]:99999/", b"http://a.example:80/x",
        gzip.compress(b"a" * 5000, mtime=0), zstandard.compress(b"b" * 50_000), gzip.compress(b"c" * 50_000, mtime=0),
    ]  # fmt: skip
    for nth, text in enumerate(templates):
        for kind in range(0, 4 * len(POSITIONS), 4):
            yield bytes((kind,)) + text.encode()
        yield bytes((4 * nth,)) + text.replace("|", "||").encode()
    yield from (b"\x01" + text.encode() for text in conditions)
    yield from (bytes((4 * nth * 3 + 2,)) + text.encode() for nth, text in enumerate(foreign))
    yield from (bytes((4 * kind + 3,)) + raw for raw in headers for kind in range(4))
