"""What is said of presets, in text and in JSON, and the entry that is written for one.

Owns: these forms, and the names of environment variables that are suggested. Never writes a secret: a secret's value is
a reference.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import typer

from waypost.catalog.additions import Entry
from waypost.catalog.preset import KINDS, PUBLISHED, SIDES, Parameter, Preset, plain_of
from waypost.catalog.presets import shipped
from waypost.catalog.problems import nearest_name
from waypost.errors import WaypostError

_PUBLISHED = "a definition in a published collection of traffic sources and networks"
_URLS = {
    "click_url": "give them this link",
    "click_note": "and know that",
    "postback_url": "give them this URL to call, with the token's value in it",
    "offer_addition": "add this to the offer's URL",
}


def preset_named(name: str) -> Preset:
    """The preset. Raises WaypostError `catalog_unknown_name`, with what may have been meant."""
    shelf = shipped()
    if name not in shelf.names:
        raise _unknown("preset", name, shelf.names, "`waypost catalog preset list` shows all")
    return shelf.preset(name)


def presets_like(kind: str, search: str) -> list[Preset]:
    """The presets of a kind (any, if empty) in whose name, title or sources the text is found."""
    if kind and kind not in KINDS:
        raise _unknown("kind", kind, KINDS, f"one of {', '.join(KINDS)}")
    shelf = shipped()
    presets = [preset for preset in map(shelf.preset, shelf.names) if kind in ("", preset.kind)]
    return [preset for preset in presets if search.lower() in _searched(preset)]


def _unknown(what: str, name: str, names: Collection[str], hint: str) -> WaypostError:
    near = nearest_name(name, names)
    hint = f"did you mean `{near}`?" if near else hint
    return WaypostError("catalog_unknown_name", f"there is no {what} `{name[:64]}`", hint=hint)


def _searched(preset: Preset) -> str:
    return " ".join((preset.name, preset.title, *preset.sources)).lower()


def list_json(presets: Sequence[Preset]) -> list[dict[str, Any]]:
    """The presets as rows."""
    return [
        {"name": p.name, "kind": p.kind, "title": p.title, "directions": p.directions, "seen": p.seen} for p in presets
    ]


def list_text(presets: Sequence[Preset]) -> str:
    width = max((len(preset.name) for preset in presets), default=0)
    lines = [
        f"{preset.name:<{width}}  {preset.kind:<16}  {', '.join(preset.directions):<24}  {preset.title}"
        for preset in presets
    ]
    return "\n".join([*lines, f"{len(presets)} presets" if len(presets) != 1 else "1 preset"])


# --- what is shown of one ----------------------------------------------------------------------------


def urls_of(preset: Preset, base: str, link: str) -> dict[str, str]:
    """What the partner is given, and what is added to an offer's URL."""
    urls = {}
    if preset.click or preset.click_note:
        pairs = "&".join(f"{ours}={theirs}" for ours, theirs in preset.click.items())
        urls["click_url"] = f"{base}/c/{link}" + (f"?{pairs}" if pairs else "")
        urls["click_note"] = preset.click_note
    if preset.call:
        urls["postback_url"] = f"{base}/postback?token=TOKEN&{preset.call}"
        urls["offer_addition"] = preset.offer
    return {name: url for name, url in urls.items() if url}


def shown_json(preset: Preset, base: str) -> dict[str, Any]:
    side = preset.sides[0]
    lent = preset.lent(side)
    return {
        "name": preset.name,
        "title": preset.title,
        "kind": preset.kind,
        "directions": preset.directions,
        "sources": preset.sources,
        "seen": preset.seen,
        "note": preset.note,
        "parameters": [
            {
                "name": p.name, "meaning": p.meaning, "secret": p.is_secret, "example": _example(p),
                "pattern": p.pattern, "required": p.default is None, "default": p.default or "",
            }
            for p in preset.used(side)
        ],
        **urls_of(preset, base, "LINK"),
        "section": SIDES[side],
        "lends": plain_of(lent) if lent is not None else {},
        "example": preset.example,
    }  # fmt: skip


def shown_text(preset: Preset, base: str) -> str:
    said = shown_json(preset, base)
    sources = [_PUBLISHED if one == PUBLISHED else one for one in preset.sources]
    lines = [
        f"{preset.title} ({preset.kind.replace('_', ' ')}): {', '.join(preset.directions)}",
        f"seen {preset.seen} in {', '.join(sources)}",
    ]
    lines += [preset.note] if preset.note else []
    for key, title in _URLS.items():
        if key in said:
            lines += ["", f"{title}:", f"  {said[key]}"]
    if said["parameters"]:
        lines += ["", "fill in:"]
        for row in said["parameters"]:
            what = "a secret" if row["secret"] else f"such as {row['example']}"
            default = f"; {row['default']} if not given" if row["default"] else ""
            lines.append(f"  {row['name']}: {row['meaning']} ({what}{default})")
    example = preset.example
    for sent in example.get("sends", ()):
        lines += ["", "it sends, for instance:"]
        lines += [f"  {sent}"] if isinstance(sent, str) else [f"  {sent['request']}", *_body(sent)]
    if "called" in example:
        means = ", ".join(f"{key} {value}" for key, value in example["means"].items())
        lines += ["", f"called with  {example['called']}", f"it means     {means}"]
    return "\n".join([*lines, "", f"waypost catalog preset add {preset.name} --catalog PATH{_options(preset)}"])


def _body(sent: Mapping[str, Any]) -> list[str]:
    headers = [f"  {name}: {value}" for name, value in sent.get("headers", {}).items()]
    return [*headers, f"  {sent['body']}"] if sent.get("body") else headers


def _options(preset: Preset) -> str:
    needed = [p for p in preset.used(preset.sides[0]) if p.default is None]
    return "".join(f" --with {p.name}={_example(p)}" for p in needed)


def _example(parameter: Parameter) -> str:
    return f"env:{_variable(parameter.name)}" if parameter.is_secret else parameter.example


# --- the entry ---------------------------------------------------------------------------------------


def given_values(values: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for text in values:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise typer.BadParameter(f"--with takes KEY=VALUE, not `{key[:40]}`")
        given[key] = value
    return given


def entry_for(preset: Preset, side: str, called: str, given: dict[str, str]) -> Entry:
    """The entry: secrets that are not given come from the environment; the rest is checked when it is compiled."""
    entry: dict[str, Any] = {"preset": preset.name}
    if side == "advertiser":
        token = given.pop("token", f"env:{_variable(called, 'token')}")
        if not token.startswith(("env:", "file:")):
            hint = "`--with token=env:NAME`, or leave it out"
            raise WaypostError("catalog_bad_value", "`token` is a secret, and takes a reference to it", hint=hint)
        entry["token"] = token
    used = {parameter.name: parameter for parameter in preset.used(side)}
    chosen: dict[str, Any] = {
        name: f"env:{_variable(called, name)}" for name, parameter in used.items() if parameter.is_secret
    }
    for key, value in given.items():
        group, dot, goal = key.partition(".")
        if dot and group == "events":
            chosen.setdefault(group, {})[goal] = value
        else:
            chosen[key] = value
    if chosen:
        entry["with"] = chosen
    return entry


def _variable(*words: str) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "_", "_".join(words)).strip("_").upper()
    return f"P_{name}" if name[:1].isdigit() else name


def environment_of(entry: Entry) -> list[str]:
    """The variables that an entry refers to."""
    found = []
    for value in entry.values():
        if not isinstance(value, str):
            found += environment_of(value)
        elif value.startswith("env:"):
            found.append(value.removeprefix("env:"))
    return found


def added_text(said: Mapping[str, Any], text: str) -> str:
    did = "added to" if said["written"] else "would be added to"
    lines = [f"{did} {', '.join(said['files'])}:", text]
    if said["environment"]:
        lines += ["", f"set for every role: {', '.join(said['environment'])}"]
    for key, title in _URLS.items():
        if key in said:
            lines += ["", f"{title}:", f"  {said[key]}"]
    return "\n".join(lines)
