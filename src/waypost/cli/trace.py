"""`waypost trace`: the whole story of an id, for people or for programs.

Owns: the command's options. Prints to stdout; reads a data folder while its roles work, and writes nothing.
"""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from waypost.cli.options import Data


class Format(StrEnum):
    """How an answer is printed."""

    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="For people, or for programs.")]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(trace)


def trace(
    id: Annotated[str, typer.Argument(metavar="ID", help="A click, receipt, transaction, conversion or postback id.")],
    data: Data,
    partner: Annotated[str, typer.Option("--partner", metavar="P", help="Only what concerns this partner.")] = "",
    format: FormatOption = Format.TEXT,
) -> None:
    """Tell the whole story of an id: each check, each rule, each attempt. Exits 1 if nothing is known of it."""
    import msgspec

    from waypost import assembly
    from waypost.explain import story_text
    from waypost.explain.trace import trace as find_story
    from waypost.layout import Layout
    from waypost.settings import load_settings

    sources = assembly.open_explain_sources(data, load_settings(Layout(data).settings))
    try:
        story = find_story(id, sources, partner=partner)
    finally:
        sources.close()
    if format is Format.JSON:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(story)).decode() + "\n")
    else:
        story_text.print_story(story, story_text.story_console())
