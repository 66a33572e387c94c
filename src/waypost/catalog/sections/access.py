"""What several sections say of who may call: secrets, networks, the answer to a stranger; and the section `intake`.

Owns: the checks of these keys, and that no two owners share a token. Reads a tree; notes problems. Never resolves a
secret, and never shows one.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network

from msgspec.structs import replace

from waypost.catalog.aliases import ALIAS_SETS
from waypost.catalog.model import Advertiser, IntakeRules
from waypost.catalog.reading import Field, Reader

TOKEN_MAX = 512
TOKENS_MAX = 20
NETWORKS_MAX = 1000
INBOUND_NAME = re.compile(r"[^\s&=?#;]{1,64}\Z")
INBOUND_RULE = "no spaces, none of `& = ? # ;`, at most 64 characters"

_ENV = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]{0,127}\Z")


class Tokens:
    """All tokens that were read so far, and whose they are: a call is told apart by its token."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}

    def take(self, reader: Reader, field: Field | None, owner: str) -> tuple[str, ...]:
        """The tokens of a key, noted where one is another's already. `owner` is said in messages."""
        found: list[str] = []
        for text, entry in read_secrets(reader, field):
            other = self._owners.setdefault(text, owner)
            if other != owner or text in found:
                message = f"has the same token as {other}" if other != owner else "is given twice"
                reader.problems.add(
                    "catalog_duplicate", message, entry.node.at, field=entry.path,
                    hint="a call is told apart by its token: give each its own",
                )  # fmt: skip
            else:
                found.append(text)
        return tuple(found)


def read_secrets(reader: Reader, field: Field | None) -> list[tuple[str, Field]]:
    """One secret or a list of them, each the text itself, `env:NAME` or `file:PATH`; wrong ones are left out."""
    found: list[tuple[str, Field]] = []
    entries = reader.one_or_many(field)
    if len(entries) > TOKENS_MAX and field is not None:
        message = f"has {len(entries)} secrets, at most {TOKENS_MAX} are taken"
        reader.problems.add("catalog_too_large", message, field.node.at, field=field.path, hint="drop the oldest")
    for entry in entries[:TOKENS_MAX]:
        text = reader.text(entry, length_max=TOKEN_MAX, secret=True)
        if text is None:
            continue
        problem = hint = ""
        if text.startswith("env:") and not _ENV.match(text):
            problem, hint = "`env:` takes the name of an environment variable", "such as `env:ACME_TOKEN`"
        elif text == "file:":
            problem, hint = "`file:` takes a path", "such as `file:/run/secrets/acme`"
        elif not text.isprintable() or text != text.strip():
            problem, hint = "has spaces around it or characters that cannot be sent", "use letters and digits"
        if problem:
            reader.problems.add("catalog_bad_value", problem, entry.node.at, field=entry.path, hint=hint)
        else:
            found.append((text, entry))
    return found


def read_networks(reader: Reader, field: Field | None) -> tuple[str, ...]:
    """Addresses and CIDR ranges, IPv4 or IPv6, in their normal form."""
    found: list[str] = []
    entries = reader.one_or_many(field)
    if len(entries) > NETWORKS_MAX and field is not None:
        message = f"has {len(entries)} networks, at most {NETWORKS_MAX} are taken"
        reader.problems.add("catalog_too_large", message, field.node.at, field=field.path, hint="join neighbours")
    for entry in entries[:NETWORKS_MAX]:
        text = reader.text(entry, length_max=64)
        if text is None:
            continue
        try:
            found.append(str(_plain(ip_network(text))))
        except ValueError:
            hint = "such as `203.0.113.7`, `198.51.100.0/24` or `2001:db8::/32`"
            with suppress(ValueError):
                hint = f"`{ip_network(text, strict=False)}` if the whole network is meant"
            reader.wrong("catalog_bad_value", entry, f"`{text}` is no address or CIDR range", hint=hint)
    return tuple(dict.fromkeys(found))


def _plain(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """A network of IPv4 addresses in IPv6's clothes (`::ffff:10.0.0.0/104`) as IPv4: so callers' addresses are seen."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and (plain := network[0].ipv4_mapped) is not None:
        return IPv4Network((plain, network.prefixlen - 96))
    return network


def read_wrong_token(reader: Reader, field: Field | None) -> int:
    """403 or 200; 0 where nothing is said."""
    text = reader.choice(field, ("403", "200"))
    return int(text) if text else 0


def read_aliases(reader: Reader, field: Field | None) -> tuple[str, ...]:
    """Names of shipped alias sets, in their order."""
    found: list[str] = []
    for entry in reader.one_or_many(field):
        name = reader.choice(entry, tuple(ALIAS_SETS))
        if name is not None:
            found.append(name)
    return tuple(dict.fromkeys(found))


def read_inbound_names(reader: Reader, field: Field | None) -> list[tuple[str, Field]]:
    """Names that a parameter may come under; those that cannot be one are noted and left out."""
    found: list[tuple[str, Field]] = []
    for entry in reader.one_or_many(field):
        text = reader.text(entry)
        if text is None:
            continue
        if INBOUND_NAME.match(text):
            found.append((text, entry))
        else:
            message = f"`{text[:80]}` cannot be a parameter's name"
            reader.wrong("catalog_bad_value", entry, message, hint=INBOUND_RULE)
    return found


def read_intake(reader: Reader, field: Field, tokens: Tokens) -> IntakeRules:
    """The section `intake`."""
    fields = reader.fields(field, "intake")
    if fields is None:
        return IntakeRules()
    file, line = fields.at
    return IntakeRules(
        tokens=tokens.take(reader, fields.get("token"), "`intake`"),
        allow_addresses=read_networks(reader, fields.get("allow_addresses")),
        wrong_token=read_wrong_token(reader, fields.get("wrong_token")) or 403,
        click_id=tuple(name for name, _ in read_inbound_names(reader, fields.get("click_id"))),
        place=f"{file}:{line}" if line else "",
    )


def with_advertisers(rules: IntakeRules, advertisers: Sequence[Advertiser]) -> IntakeRules:
    """The rules with what doors must know of all advertisers together."""
    by_address = {text for one in advertisers if one.is_known_by_address for text in one.allow_addresses}
    signatures = [one.signature for one in advertisers if one.signature is not None and one.signature.where == "header"]
    headers = {name.lower() for one in signatures for name in (one.name, one.timestamp)}
    return replace(rules, by_address=tuple(sorted(by_address)), headers=tuple(sorted(headers)))
