"""What a door finds out of a visitor, in two parts that many visitors share: his browser's and his place's.

Owns: the names of facts. What would cost the same for each who shares a part is done once for it: its facts are encoded
as they stand in a frame, and those that are not known stand there too, so that several can be asked for at once. Never
knows who the visitor is. Measured: docs/decisions/0044.
"""

from collections.abc import Iterable, Mapping
from sys import intern
from typing import TypeAlias

import msgspec

from waypost.model.wire import MAP_HEADS, encode_entries

# The names under which facts stand in `Click.visitor`, in `targeting:`, in `if:` and as macros; `geo` is the date of
# the city file that they were read from.
GEO_FACTS = ("country", "region", "city", "isp", "geo")
AGENT_FACTS = ("device", "brand", "os", "os_version", "browser", "browser_version", "bot")
BROWSER_FACTS = (*AGENT_FACTS, "language")


class Part:
    """Facts that visitors share, some hundred at most; never changed.

    `values` has all names of its kind, with None for what is not known.
    """

    __slots__ = ("count", "entries", "values")

    def __init__(self, names: Iterable[str], known: Mapping[str, str]) -> None:
        # Interned, so that what is the same for several parts is the same object, and found to be so at once.
        self.values: dict[str, str | None] = {
            **dict.fromkeys(names), **{intern(name): intern(value) for name, value in known.items()}
        }  # fmt: skip
        self.count = len(known)
        self.entries = encode_entries(known)

    @property
    def known(self) -> dict[str, str]:
        """Those that are known; a new mapping."""
        return {name: value for name, value in self.values.items() if value is not None}


NO_BROWSER, NO_PLACE = Part(BROWSER_FACTS, {}), Part(GEO_FACTS, {})


class Facts(msgspec.Struct, frozen=True, gc=False, eq=False):
    """What is known of one visitor."""

    browser: Part = NO_BROWSER
    place: Part = NO_PLACE

    @classmethod
    def of(cls, known: Mapping[str, str]) -> "Facts":
        """From facts by name, as a frame has them."""
        place = {name: value for name, value in known.items() if name in GEO_FACTS}
        browser = {name: value for name, value in known.items() if name not in GEO_FACTS}
        return cls(Part(BROWSER_FACTS, browser), Part(GEO_FACTS, place))

    def get(self, name: str, default: str = "") -> str:
        """The fact's value, or `default` if it is not known."""
        value = self.place.values.get(name)
        if value is None:
            value = self.browser.values.get(name)
        return default if value is None else value

    @property
    def known(self) -> dict[str, str]:
        """All that are known, by name; a new mapping."""
        return {**self.browser.known, **self.place.known}

    def encoded(self) -> msgspec.Raw:
        """`known`, as it stands in a frame."""
        browser, place = self.browser, self.place
        return msgspec.Raw(MAP_HEADS[browser.count + place.count] + browser.entries + place.entries)


AnyFacts: TypeAlias = Facts | Mapping[str, str]
"""Where nothing but `get` is asked for."""
