"""`waypost catalog preset`: the ready-made integrations that there are, what each says, and adding one to a catalog.

Owns: the commands and their options. What they print, and the entry that is written, is in `preset_texts.py`.
"""

from pathlib import Path
from typing import Annotated

import typer

from waypost.cli.reporting import Format, FormatOption, print_answer, reporting
from waypost.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Ready-made integrations.")

DOMAIN = "https://YOUR-DOMAIN"

Name = Annotated[str, typer.Argument(metavar="NAME", help="The preset's name.")]
Base = Annotated[str, typer.Option("--base", metavar="URL", help="Where your doors answer, for the URLs printed.")]


@app.command("list")
def list_presets(
    search: Annotated[str, typer.Argument(metavar="[SEARCH]", help="A part of name, title or source.")] = "",
    kind: Annotated[str, typer.Option("--kind", help="Of this kind only.")] = "",
    format: FormatOption = Format.TEXT,
) -> None:
    """Name the presets that there are, with their kinds and directions."""
    with reporting(Path(), format):
        from waypost.cli.preset_texts import list_json, list_text, presets_like

        found = presets_like(kind, search)
        print_answer(format, list_json(found), lambda: list_text(found))


@app.command()
def show(name: Name, base: Base = DOMAIN, format: FormatOption = Format.TEXT) -> None:
    """Say what a preset sends, what its partner is given, what must be filled in, with an example."""
    with reporting(Path(), format):
        from waypost.cli.preset_texts import preset_named, shown_json, shown_text

        preset = preset_named(name)
        print_answer(format, shown_json(preset, base), lambda: shown_text(preset, base))


@app.command()
def add(
    name: Name,
    catalog: Annotated[Path, typer.Option("--catalog", metavar="PATH", help="A YAML file, or a folder of them.")],
    alias: Annotated[
        str, typer.Option("--as", metavar="NAME", help="What it is called there; else as the preset.")
    ] = "",
    values: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="KEY=VALUE", help="A parameter's value; a secret's is env:NAME or file:PATH."),
    ] = None,
    offer: Annotated[str, typer.Option("--offer", help="Also add a link of the partner to this offer.")] = "",
    base: Base = DOMAIN,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be added, and write nothing.")] = False,
    format: FormatOption = Format.TEXT,
) -> None:
    """Add a partner or an advertiser by a preset. The catalog keeps its comments and order, and is written only if it
    is right before and after; secrets that are not given are taken from the environment, by names that are printed."""
    with reporting(catalog, format):
        from waypost import assembly
        from waypost.catalog.additions import NewEntry, entry_text
        from waypost.catalog.preset import SIDES
        from waypost.cli.preset_texts import added_text, entry_for, environment_of, given_values, preset_named, urls_of

        preset = preset_named(name)
        called, side = alias or preset.name, preset.sides[0]
        entry = entry_for(preset, side, called, given_values(values or ()))
        entries = [NewEntry(SIDES[side], called, entry)]
        if offer and side != "partner":
            raise typer.BadParameter(f"`{preset.name}` is no partner: write `{preset.offer}` into an offer's url")
        if offer:
            entries.append(NewEntry("links", called, {"partner": called, "offer": offer}))
        files = assembly.add_to_catalog(catalog, entries, load_settings(), dry_run=dry_run)
        said = {
            "ok": True,
            "written": not dry_run,
            "files": [str(file) for file in files],
            "entries": [{"section": e.section, "name": e.name, "entry": e.entry} for e in entries],
            "environment": environment_of(entry),
            **urls_of(preset, base, called if offer else "LINK"),
        }
        text = "\n".join(f"{e.section}:\n{entry_text(e.name, e.entry)}" for e in entries)
        print_answer(format, said, lambda: added_text(said, text))
