"""Doubts about secrets in templates: an advertiser's token that a partner would be sent, a key written out in a URL.

Owns: these doubts, and the names under which the field's URLs carry secrets. Reads a compiled catalog; writes nothing.
Never shows what it found.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from waypost.catalog.compiled import Compiled, is_reference, secrets_of
from waypost.catalog.doubt import Doubt
from waypost.catalog.model import PostbackRule
from waypost.errors import WaypostError
from waypost.macros.syntax import Literal, every_node, parse

STRUCK_OUT = "***"
_SHORTEST = 6  # a shorter token may stand in a template by chance
_NAMES = (
    r"(?:access|auth|api|app|postback|security|secure|secret|private|s2s|dev|verify|verification)[_-]?(?:token|key|secret)"
    r"|token|apikey|secret|signature|password|passwd"
)
_WRITTEN_OUT = re.compile(
    rf"(?:[?&;{{,\s\"']|\A)(?P<name>{_NAMES})(?:\"\s*:\s*\"|=)(?P<value>[A-Za-z0-9_\-.+/=]{{8,}})(?=[&;#\"'\s]|\Z)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z0-9_\-.]+")
_HEADERS = re.compile(rf"(?:x-)?(?:{_NAMES}|auth(?:orization)?)\Z", re.IGNORECASE)
_SCHEME = re.compile(r"\A\s*(?:bearer|basic|token)\s+", re.IGNORECASE)


class _Text(NamedTuple):
    """A template, where it stands, and in words what it is."""

    template: str
    place: str
    subject: str
    header: str = ""


def secret_doubts(compiled: Compiled) -> Iterator[Doubt]:
    """All of them, each secret once a template."""
    known = {
        use.text: use.whose for use in secrets_of(compiled) if not is_reference(use.text) and len(use.text) >= _SHORTEST
    }
    odd = [secret for secret in known if not _WORD.fullmatch(secret)]  # few: the others are looked up as words
    for text in _texts(compiled):
        literals = _literals(text.template)
        words = (word for one in literals for word in _WORD.findall(one) if word in known)
        leaked = next(words, "") or next((secret for secret in odd if any(secret in one for one in literals)), "")
        if leaked:
            leaked = known[leaked]
            yield Doubt("secret_in_template", text.place, text.subject, f"has a secret of {leaked} in it")
        elif name := _written_out(text, literals):
            yield Doubt("secret_in_template", text.place, text.subject, f"`{name}` looks like a secret, written out")


def without_secrets(template: str) -> str:
    """A template as it may be shown: what looks like a secret in it is struck out."""
    return _WRITTEN_OUT.sub(lambda found: found[0].replace(found["value"], STRUCK_OUT), template)


def _texts(compiled: Compiled) -> Iterator[_Text]:
    for offer in compiled.offers:
        yield _Text(offer.url, offer.place, f"offers.{offer.name}.url")
    for partner in compiled.partners:
        for rule in partner.rules:
            subject = f"partners.{partner.name}, rule {rule.name or rule.no}"
            for what, template, header in _of_rule(rule):
                yield _Text(template, rule.place, f"{subject}, {what}", header)


def _of_rule(rule: PostbackRule) -> Iterator[tuple[str, str, str]]:
    yield "url", rule.url, ""
    for name, value in rule.headers.items():
        yield f"header {name}", value, name
    if rule.body:
        yield "body", rule.body, ""
    if rule.batch is not None:
        yield "batch", rule.batch.head + rule.batch.tail, ""
        yield "batch item", rule.batch.item, ""


def _literals(template: str) -> list[str]:
    """A template's own texts."""
    try:
        return [node.text for node in every_node(parse(template)) if isinstance(node, Literal)]
    except WaypostError:
        return []  # a mistake, and reported as one; or half of a batch


def _written_out(text: _Text, literals: list[str]) -> str:
    """The name of a parameter or header whose value is a text of its own that only a secret has."""
    if text.header and _HEADERS.match(text.header):
        rest = _SCHEME.sub("", "".join(literals))
        return text.header if len(rest) >= 8 and "{" not in text.template else ""
    found = next((found for one in literals for found in _WRITTEN_OUT.finditer(one)), None)
    return found["name"] if found is not None else ""
