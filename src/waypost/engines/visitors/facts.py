"""Visitors' facts from geo files and user agents, remembered for as many visitors as a setting says.

Owns: the memories, which are this process' own: another door finds out by itself. Reads geo files through `geo.py`;
writes nothing but its counters and the log. Never keeps who asked: an address leads to facts, and to no click.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from waypost.engines.visitors.agents import USER_AGENT_BYTES_MAX, UserAgents
from waypost.engines.visitors.geo import GeoFile, network_of, place_of
from waypost.engines.visitors.recent import Recent
from waypost.errors import WaypostError
from waypost.model.facts import BROWSER_FACTS, GEO_FACTS, NO_PLACE, Part
from waypost.settings import VisitorSettings
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

_LANGUAGES_MAX = 2_000
_BROWSERS_MAX = 10_000  # with their languages; one is made anew of what is remembered of its user agent
_LANGUAGE_BYTES_MAX = 64
_INTERNED_MAX = 100_000


class LocalVisitors:
    """A `ports.visitors.Visitors`. `refresh` runs beside the loop, everything else on it."""

    def __init__(self, settings: VisitorSettings, stats: Stats, copies: Path | None = None) -> None:
        """`copies` is where the files are copied to before they are mapped; without it they are mapped themselves."""
        self._files = {
            name: GeoFile(Path(file), copies)
            for name, file in (("city", settings.city_file), ("isp", settings.isp_file))
            if file
        }
        self._stats = stats
        self._log = logger("visitors")
        self._agents = Recent(settings.user_agents_max, UserAgents().facts)
        self._addresses = Recent(settings.addresses_max, self._place)
        self._languages = Recent(_LANGUAGES_MAX, language_of)
        self._browsers = Recent(min(_BROWSERS_MAX, settings.user_agents_max), self._browser)
        self._same: dict[tuple[tuple[str, str], ...], Part] = {}  # one for all addresses of a place
        self.refresh()

    def browser(self, user_agent: bytes, languages: bytes) -> Part:
        """See the port."""
        return self._browsers.get((user_agent[:USER_AGENT_BYTES_MAX], languages[:_LANGUAGE_BYTES_MAX]))

    def places(self, addresses: Sequence[str]) -> list[Part]:
        """See the port."""
        if not self._files:
            return [NO_PLACE] * len(addresses)
        # Most are in the younger half of what is remembered, and looked up there without a call.
        known, find = self._addresses.young, self._addresses.get
        return [known.get(address) or find(address) for address in addresses]

    def refresh(self) -> None:
        """See the port."""
        for name, file in self._files.items():
            try:
                if not file.refresh():
                    continue
            except WaypostError as error:
                self._stats.add("visitors_files_refused")
                self._log.error("geo_file_refused", file=name, error=str(error))
                continue
            self._addresses = Recent(
                self._addresses.items_max, self._place
            )  # what was answered before is the old file's
            self._stats.set(f"visitors_{name}_file_s", file.built_s)
            self._log.info("geo_file_taken", file=name, path=str(file.file), built_s=file.built_s)
        self._stats.set("visitors_agents_parsed", self._agents.misses)
        self._stats.set("visitors_addresses_looked_up", self._addresses.misses)

    def versions(self) -> Mapping[str, int]:
        """See the port."""
        return {name: file.built_s for name, file in self._files.items() if file.built_s}

    def _browser(self, headers: tuple[bytes, bytes]) -> Part:
        user_agent, languages = headers
        facts = self._agents.get(user_agent)
        if languages and (language := self._languages.get(languages)):
            facts = {**facts, "language": language}
        return Part(BROWSER_FACTS, facts)

    def _place(self, address: str) -> Part:
        facts: dict[str, str] = {}
        city, isp = self._files.get("city"), self._files.get("isp")
        if city is not None:
            facts = place_of(city.look(address))
            if facts:
                facts["geo"] = city.built
        if isp is not None and (name := network_of(isp.look(address))):
            facts["isp"] = name
        key = tuple(facts.items())
        found = self._same.get(key)
        if found is None:
            if len(self._same) >= _INTERNED_MAX:
                self._same.clear()
            found = self._same[key] = Part(GEO_FACTS, facts)
        return found


def language_of(header: bytes) -> str:
    """The two letters of the first language of an Accept-Language header; empty if it names none."""
    tag = header.partition(b",")[0].partition(b";")[0].partition(b"-")[0].strip().lower()
    return tag.decode("ascii") if len(tag) == 2 and tag.isalpha() and tag.isascii() else ""
