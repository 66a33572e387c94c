"""What people leave in templates: placeholders that nobody filled in, and macros of yet another system.

Owns: the words by which both are told from plain text. Reads and writes nothing. Never translates.

A *placeholder* is to be filled in once, by hand: it gives an instruction (`REPLACE`, `YOUR_KEY`), it names a thing of
the account instead of being one (`API_KEY`, `TeamName`, `[account_number]`), it is a row of one sign (`XXXXXX`,
`######`), or it repeats its parameter's name in capitals (`uid=UID`). A *bare word* is a macro's name without signs
(`CLICKID`, `currency=currency`). A *foreign macro* is a name in another system's signs.
"""

import re
from typing import NamedTuple
from urllib.parse import quote

from waypost.macros.dialects.brackets import find_tokens, masked


class Leftover(NamedTuple):
    """A leftover at [start, end) of the text; `name` is what stands inside its signs."""

    start: int
    end: int
    text: str
    name: str
    placeholder: bool
    form: str = ""

    @property
    def cuts(self) -> bool:
        """Its `#` begins the fragment: nothing behind it would be sent."""
        return "#" in self.text


_HASHES = re.compile(r"#{2,}")
_NO_HOST = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")  # NETWORK_ID: no host is written so
_VALUE = re.compile(r"(?<=[=/,:])[^/?&=#;:,\s\0{}\[\]<>$%()]+(?=$|[/?&#;,])")
_PAIR = re.compile(r"(?<![\w.\-\0])([\w.\-]+)=([A-Za-z_][\w.\-]*)(?=$|[&#;,])")
_ROW = re.compile(r"X{3,}(?:-X{3,})*|x{5,}|N{4,}|\*{3,}|\.{3,}|…|_{3,}|-{3,}|\?{3,}")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[А-ЯЁа-яё]+|\d+")

# Words that give an instruction; the soft ones only beside another word.
_COMMAND_WORDS = """
replace replaceme your placeholder changeme todo optional
ваш ваша ваше вашу замените заменить вставьте вставить укажите
"""
_COMMANDS = frozenset(_COMMAND_WORDS.split())
_SOFT_COMMANDS = frozenset({"put", "insert", "enter", "change", "fill", "paste", "here", "my"})
# Words for things that an account has once, for who has them, and for what they are.
_ACCOUNT = frozenset({"account", "api", "apikey", "key", "secret", "password", "login", "team", "company"})
_OWNER_WORDS = """
partner tracker user affiliate aff advertiser client property pixel access auth security unique tracking project server
postback goal campaign
"""
_THING_WORDS = "id key name token number code secret hash login password uid uuid uniqueid apikey"
_OWNERS = _ACCOUNT | frozenset(_OWNER_WORDS.split())
_THINGS = frozenset(_THING_WORDS.split())
# Words for what differs with each postback.
_CHANGING_WORDS = """
click clickid clid subid externalid external payout revenue status sum amount goal currency conversion transaction
transactionid txid txn macro macros
"""
_CHANGING = frozenset(_CHANGING_WORDS.split())
_BARE = _CHANGING - {"click", "external", "status", "sum", "goal", "conversion", "transaction"}
_AFTER_YOUR = _THINGS | _OWNERS | _CHANGING | {"domain", "host", "site", "parameter", "value"}


def find_leftovers(text: str) -> list[Leftover]:
    """All leftovers of a text without macros of its own dialect, in order; linear in the text's length."""
    tokens = find_tokens(text)
    found = [
        Leftover(token.start, token.end, token.text, token.name, is_placeholder(token.name), token.form)
        for token in tokens
    ]
    return sorted(found + find_bare(masked(text, tokens)))


def find_bare(rest: str) -> list[Leftover]:
    """Placeholders and bare words of a text whose tokens are masked, in order."""
    found = {
        match.start(): Leftover(match.start(), match.end(), match[0], "", True) for match in _HASHES.finditer(rest)
    }
    for match in _VALUE.finditer(rest):
        if _is_bare_placeholder(match[0]):
            found[match.start()] = Leftover(match.start(), match.end(), match[0], match[0], True)
    for match in _PAIR.finditer(rest):
        key, value = match[1], match[2]
        if key.lower() == value.lower() and (value.isupper() or not _CHANGING.isdisjoint(_words(value))):
            found[match.start(2)] = Leftover(match.start(2), match.end(2), value, value, True)
    return [found[start] for start in sorted(found)]


def is_placeholder(name: str) -> bool:
    """Whether a name inside signs is to be filled in by hand; by its words."""
    return instructs(name) or not _ACCOUNT.isdisjoint(_words(name))


def instructs(name: str) -> bool:
    """Whether a name is an order to the reader, or a row of one sign; no system's macro is called so."""
    return _instructs(_words(name)) or bool(_ROW.fullmatch(name))


def asks_for_macro(name: str) -> bool:
    """Whether a placeholder's name says that a value of each postback belongs there."""
    return not _CHANGING.isdisjoint(_words(name))


def host_placeholder(host: str) -> str:
    """The part of a host's name that is a leftover, or an empty text; only clear orders count in a name."""
    left = next((token.text for token in find_tokens(host) if token.form != "{x}"), "")
    return left or next((label for label in host.split(".") if _is_host_placeholder(label)), "")


def as_literal(text: str) -> str:
    """The leftover as it can stand in a URL: its signs percent-encoded."""
    return quote(text, safe="%*", errors="backslashreplace")


def _is_host_placeholder(label: str) -> bool:
    return bool(_NO_HOST.fullmatch(label)) or any(map(_commands, _words(label)))


def _is_bare_placeholder(value: str) -> bool:
    words = _words(value)
    if _instructs(words) or _ROW.fullmatch(value):
        return True
    if value.isupper() and not _BARE.isdisjoint(words):
        return True
    if not words or words[-1] not in _THINGS:
        return False
    return value.isupper() or (len(words) > 1 and all(word in _OWNERS or word in _THINGS for word in words))


def _instructs(words: list[str]) -> bool:
    return any(_commands(word) for word in words) or (len(words) > 1 and not _SOFT_COMMANDS.isdisjoint(words))


def _commands(word: str) -> bool:
    """`replace`, `your`, and `yourkey`; but not `youradexchange`."""
    return word in _COMMANDS or (word.startswith("your") and word[4:] in _AFTER_YOUR)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]
