"""What people leave in templates: placeholders that nobody filled in, and macros of yet another system.

Owns: the signs by which both are told from plain text. Reads and writes nothing. Never translates.

A *placeholder* is to be filled in once, by hand: it gives an instruction (`REPLACE`, `YOUR_KEY`), it names a thing of
the account instead of being one (`API_KEY`, `TeamName`, `[account_number]`), or it is a row of one sign (`XXXXXX`,
`######`). A *foreign macro* is a name in another system's signs: `${a}`, `{{a}}`, `##a##`, `#a#`, `[a]`, `<a>`, `%a%`,
`__A__`, `(a)`. Where a placeholder asks for a value that changes with each postback (`[your_clickid]`), it stands for
a macro.
"""

import re
from typing import NamedTuple
from urllib.parse import quote


class Leftover(NamedTuple):
    """A leftover at [start, end) of the text; `name` is what stands inside its signs."""

    start: int
    end: int
    text: str
    name: str
    placeholder: bool

    @property
    def cuts(self) -> bool:
        """Its `#` begins the fragment: nothing behind it would be sent."""
        return "#" in self.text


_WRAPPED = re.compile(
    r"""[$%]\{([^{}]*)\} | \{\{([^{}]*)\}\}
      | \#\#([A-Za-z_][\w.-]*)\#\# | \#([A-Za-z_]\w*)\#
      | \[{1,3}([^\[\]&/?=\#]+)\]{1,3}
      | <([A-Za-z_][\w. -]*)>
      | %([A-Za-z_]\w{2,})%(?![0-9A-Fa-f]{2})
      | (?<![A-Za-z0-9])__([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)__
      | (?<=[=/])\(([A-Za-z_][\w-]+)\)
      | (?P<row>\#{2,})""",
    re.VERBOSE,
)
_VALUE = re.compile(r"(?<=[=/,:])[^/?&=#;:,\s\0{}\[\]<>$%()]+(?=$|[/?&#;,])")
_ROW = re.compile(r"X{3,}|x{5,}|\*{3,}|\.{3,}|_{3,}|-{3,}")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

# Words that give an instruction; the soft ones only beside another word.
_COMMANDS = frozenset({"replace", "replaceme", "your", "placeholder", "changeme", "todo"})
_SOFT_COMMANDS = frozenset({"put", "insert", "enter", "change", "fill", "paste", "here", "my"})
# Words for things that an account has once, for who has them, and for what they are.
_ACCOUNT = frozenset({"account", "api", "apikey", "key", "secret", "password", "login", "team", "company"})
_OWNER_WORDS = """
partner tracker user affiliate aff advertiser client property pixel access auth security unique tracking project server
postback
"""
_THING_WORDS = "id key name token number code secret hash login password uid uuid apikey"
_OWNERS = _ACCOUNT | frozenset(_OWNER_WORDS.split())
_THINGS = frozenset(_THING_WORDS.split())
# Words for what differs with each postback.
_CHANGING_WORDS = """
click clickid clid subid externalid external payout revenue status sum amount goal currency conversion transaction
transactionid txid txn
"""
_CHANGING = frozenset(_CHANGING_WORDS.split())
_AFTER_YOUR = _THINGS | _OWNERS | _CHANGING | {"domain", "host", "site", "parameter", "value"}


def find_leftovers(text: str) -> list[Leftover]:
    """All leftovers of a text without macros of its own dialect, in order; linear in the text's length."""
    found = []
    for match in _WRAPPED.finditer(text):
        name = next((group for group in match.groups() if group is not None), "").strip()
        placeholder = bool(match["row"]) or is_placeholder(name)
        found.append(Leftover(match.start(), match.end(), match[0], "" if match["row"] else name, placeholder))
    rest = _WRAPPED.sub(lambda match: "\0" * len(match[0]), text)
    for match in _VALUE.finditer(rest):
        if _is_bare_placeholder(match[0]):
            found.append(Leftover(match.start(), match.end(), match[0], match[0], True))
    return sorted(found)


def is_placeholder(name: str) -> bool:
    """Whether a name inside signs is to be filled in by hand; by its words."""
    words = _words(name)
    return _instructs(words) or not _ACCOUNT.isdisjoint(words) or bool(_ROW.fullmatch(name))


def asks_for_macro(name: str) -> bool:
    """Whether a placeholder's name says that a value of each postback belongs there."""
    return not _CHANGING.isdisjoint(_words(name))


def host_placeholder(host: str) -> str:
    """The part of a host's name that is a leftover, or an empty text; only clear orders count in a name."""
    left = next((match[0] for match in _WRAPPED.finditer(host)), "")
    return left or next((label for label in host.split(".") if any(map(_commands, _words(label)))), "")


def as_literal(text: str) -> str:
    """The leftover as it can stand in a URL: its signs percent-encoded."""
    return quote(text, safe="%*")


def _is_bare_placeholder(value: str) -> bool:
    words = _words(value)
    if _instructs(words) or _ROW.fullmatch(value):
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
