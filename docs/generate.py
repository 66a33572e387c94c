"""Writes the reference pages of docs/ from the code: settings, errors, metrics, commands, checks, aliases, and so on.

Owns: `settings.md`, `errors.md`, `metrics.md`, `cli.md`, `checks.md`, `aliases.md`, `dialect-tables.md`,
`preset-list.md` beside this file; tests compare them. Run it with `make docs` after a setting, an error code, a metric,
a command, a check, an alias set, a dialect or a preset has changed. Never edits any other page.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from typer.main import get_command

from waypost.catalog.aliases import ALIAS_SETS
from waypost.catalog.preset import KINDS, PUBLISHED, Preset
from waypost.catalog.presets import shipped
from waypost.cli.main import app
from waypost.errors import ERRORS
from waypost.macros.dialects import NAMED
from waypost.settings import defaults_text
from waypost.stages.checks import CHECKS, OTHER_CODES, UPDATES
from waypost.telemetry.names import METRICS

FOLDER = Path(__file__).parent
_DIGITS = re.compile(r"\d+")
_MADE = "<!-- Made by docs/generate.py from {source}: do not edit by hand. -->\n"


def settings_page() -> str:
    """Every setting, with its default and meaning, as `defaults.toml` says."""
    lines = [
        "# Settings\n",
        _MADE.format(source="src/waypost/defaults.toml"),
        "What an operator sizes. To change one, write it into `settings.toml` in the data folder, or set the",
        "environment variable `WAYPOST_SECTION_NAME` (`WAYPOST_DOOR_COUNT=4`); the variable wins. A setting that does",
        "not exist is an error (`bad_settings`). Units stand last in each name.\n",
    ]
    values = tomllib.loads(defaults_text())
    for line in defaults_text().splitlines():
        if line.startswith("["):
            section = line.strip("[] ")
            lines += [f"\n## [{section}]\n", "| setting | default | meaning |", "|---|---|---|"]
        elif "=" in line and not line.startswith("#"):
            name = line.partition("=")[0].strip()
            meaning = line.partition(" # ")[2].strip()
            lines.append(f"| `{name}` | `{_toml(values[section][name])}` | {_cell(meaning)} |")
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """Every error code."""
    lines = [
        "# Errors\n",
        _MADE.format(source="src/waypost/errors.py"),
        "Codes are stable: none is renamed or used again. A door answers with the HTTP status and",
        '`{"status":0,"error":CODE,"message":…}`; a command prints `waypost: place: detail [code] (hint)`, exit 1.',
        "*Again* says whether trying again can help.\n",
        "| code | HTTP | again | meaning | what to do |",
        "|---|---|---|---|---|",
    ]
    for code, spec in ERRORS.items():
        status = str(spec.http_status) if spec.http_status else "–"
        again = "yes" if spec.retriable else "no"
        lines.append(f"| `{code}` | {status} | {again} | {_cell(spec.meaning)} | {_cell(spec.remedy)} |")
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """Every metric."""
    lines = [
        "# Metrics\n",
        _MADE.format(source="src/waypost/telemetry/names.py"),
        "The console answers `/metrics` in Prometheus' text form. Each metric has the prefix `waypost_` and the label",
        "`role` (`door-0`, `pipeline`, …); counters end in `_total` and begin at zero when a role is started again.",
        "`waypost_snapshot_age_ms` says how old each role's numbers are.\n",
        "| metric | kind | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{metric.name}` | {metric.kind} | {_cell(metric.meaning)} |" for metric in METRICS]
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    """Every command, with its arguments and options."""
    lines = [
        "# Commands\n",
        _MADE.format(source="src/waypost/cli/"),
        "`waypost COMMAND --help` says the same. Exit codes: 0 done, 1 an error (one line on stderr), 2 wrong usage.\n",
    ]
    for words, command in _commands("waypost", get_command(app)):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option" and not getattr(p, "hidden", False)]
        usage = " ".join([words, *(_metavar(argument) for argument in arguments)])
        lines += [f"## `{usage}`\n", (command.help or "").strip().replace("\n\n", "\n") + "\n"]
        if options:
            lines += ["| option | default | meaning |", "|---|---|---|"]
            lines += [_option_row(option) for option in options]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def checks_page() -> str:
    """Every check of a call, in the order of stored results, and the other codes that a decision may carry."""
    lines = [
        "# Checks\n",
        _MADE.format(source="src/waypost/stages/checks.py"),
        "Every check runs on every call, and every result is kept with the decision: a letter each, in this order (`p`",
        "pass, `f` fail, `s` skip), and words for each failure. The decision's `code` is that of the first check that",
        "fails and refuses; `review` sends an approved conversion to `pending` instead. A check is skipped where what",
        "it needs is not known or not there. `waypost trace` shows all of it. The list grows only at its end.\n",
        "| # | check | code | severity | what must be so | needs |",
        "|---|---|---|---|---|---|",
    ]
    for nth, check in enumerate(CHECKS, 1):
        row = (f"`{check.name}`", f"`{check.code}`", check.severity, _cell(check.meaning), _cell(check.needs) or "–")
        lines.append(f"| {nth} | {' | '.join(row)} |")
    lines += [
        "\nFor `status_updatable`, a conversion's status may become, by a call that states one:\n",
        "| from | to |",
        "|---|---|",
    ]
    for before, after in UPDATES.items():
        lines.append(f"| {before} | {', '.join(status for status in after if status != before)} |")
    lines += ["\n## Other codes of decisions\n", "| code | verdict | meaning |", "|---|---|---|"]
    lines += [f"| `{code}` | refused | {_cell(meaning)} |" for code, meaning in OTHER_CODES.items()]
    lines.append("| `duplicate` | duplicate | the call says nothing that the conversion does not say already |")
    lines.append("| `repeated_key` | duplicate | the call's idempotency key was used before: the first call counts |")
    for code in ("poisonous_item", "unreadable_frame"):
        lines.append(f"| `{code}` | set_aside | {_cell(ERRORS[code].meaning)} |")
    lines.append("\n`new` and `updated` carry no code. What a door refuses beforehand is in [errors.md](errors.md).")
    return "\n".join(lines) + "\n"


def dialects_page() -> str:
    """Every name of every dialect that is translated, and why the others are not."""
    lines = [
        "# Other systems' macros\n",
        _MADE.format(source="the tables in src/waypost/macros/dialects/"),
        "How they are read, and what is said of a template, is in [dialects](dialects.md). A family of numbered names",
        "is one row. Names that are refused stand at the end of each table, with the reason. Each table was held",
        "against what its system publishes, on 2026-11-21; it says what was at hand. A name marked `?` was in none of",
        "it, and is translated all the same.",
    ]
    for name, dialect in NAMED.items():
        checked = dialect.checked[0].lower() + dialect.checked[1:]
        lines += [
            f"\n## {dialect.title}\n",
            f"`--dialect {name}`, from <{dialect.source}>. Checked: {checked}\n",
            "| theirs | Waypost | |",
        ]
        lines.append("|---|---|---|")
        kept: dict[tuple[str, str], list[str]] = {}
        for theirs, row in dialect.rows.items():
            family = _DIGITS.sub("N", theirs) if _DIGITS.search(row.name) or not row.ours else theirs
            ours = _DIGITS.sub("N", row.ours) if family != theirs else row.ours
            names = kept.setdefault((ours, row.note), [])
            written = f"`{dialect.write_name(family)}`{'' if row.confirmed else ' ?'}"
            if written not in names:
                names.append(written)
        for (ours, note), names in sorted(kept.items(), key=lambda item: not item[0][0]):
            lines.append(f"| {_cell(', '.join(names))} | {_cell(f'`{{{ours}}}`' if ours else '–')} | {_cell(note)} |")
    return "\n".join(lines) + "\n"


def aliases_page() -> str:
    """Every alias set: another tracker's names, words and paths, and where they are published."""
    lines = [
        "# Alias sets\n",
        _MADE.format(source="src/waypost/catalog/aliases.py"),
        "What other trackers call our parameters, so that URLs made for them work unchanged: `aliases:` of an",
        "advertiser for its calls, of a partner for its click URLs ([intake.md](intake.md)). Our own names work",
        "always; a name of a set that is also one of ours has the set's meaning. Own `parameters:`, `statuses:` and",
        "`click_names:` win, then the sets in their order. `KEY` is the advertiser's token; it may stand before each",
        "of the paths.\n",
        "A set's facts are those of its sources; what of it they were seen to say, on 2026-11-21, stands beside them.",
        "An id of the other tracker (of a campaign, an offer, a partner) means what has that name in the catalog.",
    ]
    for name, found in ALIAS_SETS.items():
        lines += [f"\n## `{name}`: {found.title}\n", "| of a call | there |", "|---|---|"]
        lines += [f"| `{ours}` | {_listed(theirs)} |" for ours, theirs in found.parameters.items()]
        lines += [f"| status `{word}` | {status} |" for word, status in found.statuses.items()]
        lines.append(f"| paths | {_listed(found.paths)} |")
        lines += ["", "| of a click | there |", "|---|---|"]
        lines += [f"| `{ours}` | {_listed(theirs)} |" for ours, theirs in _click_names(found.clicks).items()]
        lines += [f"| URL | `{found.click_path}` |", "", "Sources: " + ", ".join(f"<{url}>" for url in found.sources)]
        lines[-1] += f". Seen there: {found.checked}."
    lines += [
        "\nAffise's status 5 (hold) is taken as pending until conversions can be held. Binom's statuses are free text:",
        "only the words of its own examples are here. Keitaro's `rebill` is a conversion of its own if it has a `tid`",
        "of its own.",
    ]
    return "\n".join(lines) + "\n"


def presets_page() -> str:
    """Every preset: what it is good for, what is to be filled in, where it was seen."""
    shelf = shipped()
    presets = [shelf.preset(name) for name in shelf.names]
    lines = [
        "# The presets\n",
        _MADE.format(source="src/waypost/catalog/presets/"),
        f"{len(presets)} ready-made integrations; how they are used is in [presets](presets.md), and all that one does",
        "is said by `waypost catalog preset show NAME`. *In*: clicks come by a link in their macros, or calls by a URL",
        "in their macros; *out*: postbacks are sent. *Published* is a definition in a published collection of traffic",
        "sources and networks (the data files of the Orbitra tracker); other sources are the pages named, and the date",
        "is the day on which they were read. Parameters in italics are secrets; those in brackets have a default.",
    ]
    for kind in KINDS:
        found = [preset for preset in presets if preset.kind == kind]
        lines += [f"\n## {kind.replace('_', ' ').capitalize()} ({len(found)})\n"]
        lines += ["| preset | for | directions | to fill in | source, seen | note |", "|---|---|---|---|---|---|"]
        lines += [_preset_row(preset) for preset in found]
    return "\n".join(lines) + "\n"


def _preset_row(preset: Preset) -> str:
    filled = [f"*{p.name}*" if p.is_secret else p.name for p in preset.parameters.values() if p.default is None]
    filled += [f"[{p.name}]" for p in preset.parameters.values() if p.default is not None]
    sources = ["published" if one == PUBLISHED else _source(one) for one in preset.sources]
    cells = (
        f"`{preset.name}`", preset.title, ", ".join(preset.directions), ", ".join(filled),
        f"{', '.join(sources)}, {preset.seen}", preset.note,
    )  # fmt: skip
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _source(address: str) -> str:
    return f"<{address}>" if "://" in address else f"[{address}]({address.removeprefix('docs/')})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _click_names(clicks: Mapping[str, str]) -> dict[str, list[str]]:
    """Our click parameter → their names; long runs of numbers in short."""
    found: dict[str, list[str]] = {}
    runs: dict[tuple[str, str], list[int]] = {}
    for theirs, ours in clicks.items():
        stem, number = re.fullmatch(r"(.*?)(\d*)", theirs).groups()  # type: ignore[union-attr]
        sub = re.fullmatch(r"sub(\d+)", ours)
        if number and sub:
            runs.setdefault((stem, str(int(sub[1]) - int(number))), []).append(int(number))
        else:
            found.setdefault(ours, []).append(theirs)
    for (stem, shift), numbers in runs.items():
        first, last = min(numbers), max(numbers)
        found[f"sub{first + int(shift)}` … `sub{last + int(shift)}"] = [f"{stem}{first}` … `{stem}{last}"]
    return found


PAGES = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "cli.md": cli_page,
    "checks.md": checks_page,
    "aliases.md": aliases_page,
    "dialect-tables.md": dialects_page,
    "preset-list.md": presets_page,
}


def _commands(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The commands that can be called, in the order of the help."""
    children = getattr(command, "commands", {})
    if not children or getattr(command, "invoke_without_command", False):
        yield words, command
    for name, child in children.items():
        if not child.hidden:
            yield from _commands(f"{words} {name}", child)


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return str(name if argument.required else f"[{name}]")


def _option_row(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    default = option.default
    is_empty = default is None or default is False or default in ("", ())
    shown = "required" if option.required else "–" if is_empty else f"`{_plain(default)}`"
    return f"| {names} | {shown} | {_cell(option.help or '')} |"


def _plain(value: Any) -> str:
    return str(getattr(value, "value", value))


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), "utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
