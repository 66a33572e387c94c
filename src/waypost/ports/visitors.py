"""What a door can tell of a visitor: the interface.

Owns: the names of the facts. An engine answers from files and tables that it holds in memory, so that a door can ask
for every click on its loop.
"""

from collections.abc import Mapping
from typing import Protocol

# The names under which facts stand in `Click.visitor`, in `targeting:`, in `if:` and as macros; `geo` is the date of
# the city file that they were read from.
GEO_FACTS = ("country", "region", "city", "isp", "geo")
AGENT_FACTS = ("device", "brand", "os", "os_version", "browser", "browser_version", "bot")


class Visitors(Protocol):
    """Facts by address, user agent and language. A fact that is not known is left out, never guessed."""

    def facts(self, address: str, user_agent: bytes, languages: bytes) -> dict[str, str]:
        """A new mapping, the caller's own. `languages` is the header Accept-Language. Never raises, never waits."""

    def refresh(self) -> None:
        """Looks whether files were replaced, and takes those that are valid. May take long: beside the loop only.

        A file that is not valid is counted and logged, and the one before stays in use.
        """

    def versions(self) -> Mapping[str, int]:
        """By file (`city`, `isp`), when it was built, in Unix seconds; those in use only."""
