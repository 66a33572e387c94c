"""User agents: device class, brand, system, browser, their versions, and whether a program calls.

Owns: the table of device classes. Reads ua-parser's rules (uap-core), which come with the package; writes nothing.
Never keeps what it was asked for, and never guesses: what the rules do not know is left out.

Device classes, in the order in which they are tried: `bot` (ua-parser says Spider, or a program names itself), `tv`,
`tablet`, `mobile`, `desktop`, and `other` for what has a user agent that fits none of them.
"""

import re

from ua_parser import Domain
from ua_parser import regex as backend
from ua_parser.core import Resolver
from ua_parser.loaders import load_builtins

USER_AGENT_BYTES_MAX = 512  # more is cut off: it costs time, and says nothing

_BOT = re.compile(
    r"(?<!cu)bot\b|crawl|spider|slurp|headless|phantomjs|selenium|lighthouse|facebookexternalhit"
    r"|^(curl|wget|python|go-http|java/|ruby|perl|libwww|httpie|axios|node|scrapy|aiohttp|apache-httpclient)",
    re.IGNORECASE,
)
_TV = re.compile(
    r"smart-?tv|smarttv|appletv|apple tv|googletv|android tv|hbbtv|netcast|web0s|webos\b.*tv|tizen.*\btv\b"
    r"|\bbravia|\broku|\baft[a-z0-9]{1,6}\b|crkey|viera|playstation|xbox|nintendo",
    re.IGNORECASE,
)
_TABLET = re.compile(
    r"ipad|tablet|playbook|\bsilk(?!.*mobile)|kindle|android(?!.*\bmobile\b)|nexus (7|9|10)\b", re.IGNORECASE
)
_MOBILE = re.compile(r"iphone|ipod|\bmobile\b|windows phone|blackberry|bb10|opera mini|kaios|symbian", re.IGNORECASE)
_DESKTOP = re.compile(r"windows nt|macintosh|mac os x|x11|linux|cros\b|\bwindows\b", re.IGNORECASE)
_CLASSES = (("bot", _BOT), ("tv", _TV), ("tablet", _TABLET), ("mobile", _MOBILE), ("desktop", _DESKTOP))
_SYSTEMS = {"Mac OS X": "macOS", "Web0S": "webOS"}  # what users call them


class UserAgents:
    """Makes facts of user agents; some 25 microseconds each."""

    def __init__(self) -> None:
        self._parse: Resolver = backend.Resolver(load_builtins())

    def facts(self, raw: bytes) -> dict[str, str]:
        """See the module; empty for an empty user agent."""
        text = raw[:USER_AGENT_BYTES_MAX].decode("utf-8", "replace")
        if not text.strip():
            return {}
        found = self._parse(text, Domain.ALL)
        device, system, browser = found.device, found.os, found.user_agent
        facts: dict[str, str] = {"device": _class_of(text)}
        if device is not None and device.family == "Spider":
            facts["device"] = "bot"
        elif device is not None and device.brand and not device.brand.startswith("Generic"):
            facts["brand"] = device.brand
        if facts["device"] == "bot":
            facts["bot"] = "1"
        if system is not None:
            facts["os"] = _SYSTEMS.get(system.family, system.family)
            if system.major:
                facts["os_version"] = _version(system.major, system.minor, system.patch)
        if browser is not None:
            facts["browser"] = browser.family
            if browser.major:
                facts["browser_version"] = _version(browser.major, browser.minor)
        return facts


def _class_of(text: str) -> str:
    return next((name for name, pattern in _CLASSES if pattern.search(text)), "other")


def _version(*parts: str | None) -> str:
    kept: list[str] = []
    for part in parts:
        if not part:
            break
        kept.append(part)
    return ".".join(kept)
