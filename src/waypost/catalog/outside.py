"""What the catalog says of the installation's outside: the hosts that doors answer for, and what is kept of visitors.

Owns: the structs of the sections `domains` and `privacy`, as `catalog/model.py` does for the others. Reads and writes
nothing. `Privacy()` is what holds where the catalog says nothing.
"""

from waypost.catalog.model import Item

ADDRESS_KEPT = ("truncated", "hashed", "whole", "none")
USER_AGENT_KEPT = ("whole", "family", "none")
REFERRER_KEPT = ("whole", "origin", "none")


class Privacy(Item, frozen=True):
    """How much of a visitor is stored with a click or impression.

    `ip`: `truncated` (/24 of IPv4, /48 of IPv6), `hashed` (under a key that is gone after a day), `whole`, `none`.
    `user_agent`: `whole`, `family` (system and browser without versions), `none`.
    `referrer`: `whole`, `origin`, `none`.
    """

    ip: str = "truncated"
    user_agent: str = "whole"
    referrer: str = "whole"


class IosApp(Item, frozen=True):
    """An app that a host's links open: `TEAM.BUNDLE`, and its paths; one that begins with `not ` is left out."""

    app_id: str
    paths: tuple[str, ...]


class AndroidApp(Item, frozen=True):
    """An app that a host's links open, known by the SHA-256 fingerprints of its signing certificates."""

    package: str
    fingerprints: tuple[str, ...]


class Domain(Item, frozen=True):
    """One host; `*` stands for all others. An inactive one is not answered (421).

    `link` is what `/` leads to; without it that is 404.
    """

    name: str
    link: str = ""
    active: bool = True
    ios: tuple[IosApp, ...] = ()
    android: tuple[AndroidApp, ...] = ()
    place: str = ""
