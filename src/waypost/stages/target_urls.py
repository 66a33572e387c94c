"""The address that one click is sent to: an offer's URL, with what this click brought.

Owns: where the values are that a URL may carry, and what is done about those that it cannot take. Reads and writes
nothing. Never lets an address out that has a sign which none may have.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import unquote_plus

from waypost.errors import WaypostError
from waypost.macros.in_place import CLICK_ID, Address, Origins, is_address
from waypost.macros.names import VISITOR, is_personal
from waypost.macros.template import Template
from waypost.model.facts import AnyFacts
from waypost.stages.click_names import add_ours
from waypost.stages.intake import decode_pairs

CLICK_PREFIX = "click."
_CAREFUL_CLICKS = 32  # making the short way costs about what it saves in so many clicks; many targets never have them
NO_NAMES: Mapping[str, str] = {}


class TargetUrl:
    """One target's URL; `template` is None for the blank page.

    `of(click_id, query, facts)` answers a click's address, empty for the blank page, by the shortest way; what it
    answers and raises is what `careful` does. `fixed` are macros that the link gives, `click_names` the partner's
    names for our click parameters.
    """

    __slots__ = ("_blank", "_click_names", "_clicks", "_facts", "_wanted", "of", "template")

    of: Address

    def __init__(
        self, template: Template | None, fixed: Mapping[str, str] = NO_NAMES, click_names: Mapping[str, str] = NO_NAMES
    ) -> None:
        names = template.names if template is not None else ()
        self.template = template
        self._click_names = click_names
        self._facts = tuple(name for name in names if name in VISITOR)
        self._wanted = _wanted(name for name in names if name not in fixed)  # name in a query → macros that it fills
        self._blank = {**dict.fromkeys(names, ""), **fixed}  # all macros
        self._clicks = 0
        self.of = self._first

    def careful(self, click_id: str, query: bytes, facts: AnyFacts) -> str:
        """The address, step by step. Of a name that the query carries several times the first counts.

        A query whose values the template cannot take (a filter refuses them, they are too long) is left out: the
        visitor reaches the offer all the same, and the click's frame has the query. Raises WaypostError: `bad_target`
        if the result is no plain ASCII address, or what the template raises without the query.
        """
        template = self.template
        if template is None:
            return ""
        values = self._blank | {CLICK_ID: click_id}
        for name in self._facts:
            values[name] = facts.get(name, "")
        if self._wanted and query:
            if self._click_names:
                self._fill_named(values, query)
            else:
                self._fill(values, query)
            try:
                url = template.render(values)
            except WaypostError:
                url = template.render(self._blank | {CLICK_ID: click_id})
        else:
            url = template.render(values)
        if url and not is_address(url):
            raise WaypostError("bad_target", "the offer's URL rendered to an address with characters none may have")
        return url

    def _first(self, click_id: str, query: bytes, facts: AnyFacts) -> str:
        self._clicks += 1
        if self._clicks == _CAREFUL_CLICKS:
            self.of = self.shortest()
        return self.careful(click_id, query, facts)

    def shortest(self) -> Address:
        """What `of` is once the target has had some clicks."""
        if self.template is None or self._click_names:
            return self.careful
        parameters = {macro: name.decode() for name, macros in self._wanted.items() for macro in macros}
        fixed = {
            name: text
            for name, text in self._blank.items()
            if name != CLICK_ID and name not in parameters and name not in self._facts
        }
        return self.template.in_place(Origins(parameters, fixed, self._facts), self.careful)

    def _fill(self, values: dict[str, str], query: bytes) -> None:
        wanted = self._wanted
        for pair in query.split(b"&")[::-1]:  # from the end, so that the first of a name stays
            name, _, value = pair.partition(b"=")
            macros = wanted.get(name)
            if macros is None:
                if b"%" not in name and b"+" not in name:
                    continue
                macros = wanted.get(unquote_plus(name.decode("latin-1")).encode(), ())
            text = decode_value(value) if macros else ""
            for macro in macros:
                values[macro] = text

    def _fill_named(self, values: dict[str, str], query: bytes) -> None:
        """As `_fill`, for a partner whose click URLs have other names than ours."""
        parameters = decode_pairs(query)
        add_ours(parameters, self._click_names)
        for name, macros in self._wanted.items():
            text = parameters.get(name.decode(), "")
            for macro in macros:
                values[macro] = text


def _wanted(names: Iterable[str]) -> dict[bytes, tuple[str, ...]]:
    wanted: dict[bytes, tuple[str, ...]] = {}
    for name in names:
        if name != CLICK_ID and name not in VISITOR and not is_personal(name):
            key = name.removeprefix(CLICK_PREFIX).encode()
            wanted[key] = (*wanted.get(key, ()), name)
    return wanted


def decode_value(raw: bytes) -> str:
    """A query's value as text: `+` and percent escapes decoded, bytes that are not UTF-8 replaced."""
    if raw.find(b"%") >= 0 or raw.find(b"+") >= 0:
        return unquote_plus(raw.decode("utf-8", "replace"), "utf-8", "replace")
    return raw.decode("utf-8", "replace")


NO_URL = TargetUrl(None)
