"""What a door can tell of a visitor: the interface.

Owns: nothing but this interface. An engine answers from files and tables that it holds in memory, so that a door can
ask for every click on its loop.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from waypost.model.facts import Part


class Visitors(Protocol):
    """Facts by address, user agent and language. A fact that is not known is left out, never guessed."""

    def browser(self, user_agent: bytes, languages: bytes) -> Part:
        """What a request's headers tell; `languages` is Accept-Language. Never raises, never waits."""

    def places(self, addresses: Sequence[str]) -> list[Part]:
        """What each of these addresses tells. Never raises, never waits."""

    def refresh(self) -> None:
        """Looks whether files were replaced, and takes those that are valid. May take long: beside the loop only.

        A file that is not valid is counted and logged, and the one before stays in use.
        """

    def versions(self) -> Mapping[str, int]:
        """By file (`city`, `isp`), when it was built, in Unix seconds; those in use only."""
