"""`waypost catalog`: check, diff, apply and test a catalog.

Owns: these commands' answers, and the exit code: 0 right, 1 refused, 2 wrong usage. How errors are printed is in
`reporting.py`. Never decides what is right: `catalog/` does; never writes but through the engine.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from waypost.cli.reporting import Format, FormatOption, print_answer, reporting
from waypost.layout import Layout
from waypost.settings import Settings, load_settings

if TYPE_CHECKING:
    from waypost.catalog.compiled import Compiled
    from waypost.catalog.diff import Change
    from waypost.catalog.doubt import Doubt

app = typer.Typer(no_args_is_help=True, help="Check, compare and apply a catalog.")


CatalogPath = Annotated[Path, typer.Argument(metavar="PATH", help="A YAML file, or a folder of them.")]
DataFolder = Annotated[Path, typer.Option("--data", help="The data folder.")]
SkipSecrets = Annotated[bool, typer.Option("--skip-secrets", help="Do not read what env: and file: tokens refer to.")]


@app.command()
def check(
    path: CatalogPath,
    format: FormatOption = Format.TEXT,
    skip_secrets: SkipSecrets = False,
    data: Annotated[Path | None, typer.Option("--data", help="The data folder whose settings hold.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if anything is doubtful, too.")] = False,
) -> None:
    """Say everything that is wrong with a catalog, or that it is right; and what is right and yet unlikely to be meant
    (docs/catalog.md). Changes nothing."""
    with reporting(path, format):
        from waypost import assembly
        from waypost.catalog.doubts import doubts_about

        settings = load_settings(Layout(data).settings) if data is not None else load_settings()
        compiled = assembly.check_catalog(path, settings, secrets=not skip_secrets)
        counts = compiled.counts()
        doubts = doubts_about(compiled, settings.visitors, int(time.time() * 1000))
        head = f"{path} is right: {_counted(counts)}"
        lines = [f"{_shown_place(path, doubt.place)}{_without_place(doubt)}" for doubt in doubts]
        if doubts:
            lines.append("1 doubt" if len(doubts) == 1 else f"{len(doubts)} doubts")
        answer = {"ok": not (strict and doubts), "counts": counts, "doubts": [_doubt_json(path, one) for one in doubts]}
        print_answer(format, answer, lambda: "\n".join([head, *lines]))
        if strict and doubts:
            raise typer.Exit(1)


@app.command()
def diff(data: DataFolder, path: CatalogPath, format: FormatOption = Format.TEXT) -> None:
    """Say what would change against the catalog in force: in money, in who is told of what, in where clicks go.
    Changes nothing."""
    with reporting(path, format):
        from waypost import assembly
        from waypost.catalog.diff import diff_catalogs
        from waypost.catalog.diff_words import by_topic

        settings = load_settings(Layout(data).settings)
        after = assembly.check_catalog(path, settings, secrets=False)
        version, before = _in_force(Layout(data), settings)
        changes = diff_catalogs(before, after)
        answer = {"ok": True, "version": version, "changes": [msgspec.to_builtins(change) for change in changes]}
        answer["topics"] = by_topic(changes)
        print_answer(format, answer, lambda: _diff_text(version, changes))


@app.command()
def apply(
    data: DataFolder, path: CatalogPath, format: FormatOption = Format.TEXT, skip_secrets: SkipSecrets = False
) -> None:
    """Make a catalog the one in force; running roles load it by themselves. A wrong one changes nothing."""
    with reporting(path, format):
        from waypost import assembly

        layout = assembly.make_data_folder(data)
        settings = load_settings(layout.settings)
        applied = assembly.apply_catalog_with_journal(path, layout, settings, secrets=not skip_secrets)
        what = "is in force" if applied.changed else "was in force already, nothing changed"
        answer = {"ok": True, **msgspec.to_builtins(applied)}
        print_answer(format, answer, lambda: f"catalog version {applied.version} {what}: {_counted(applied.counts)}")


@app.command()
def test(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="CASES", help="Files of cases; else all beside the catalog."),
    ] = None,
    catalog: Annotated[Path, typer.Option("--catalog", metavar="PATH", help="The catalog.")] = Path("catalog.yaml"),
    format: FormatOption = Format.TEXT,
    data: Annotated[Path | None, typer.Option("--data", help="The data folder whose settings hold.")] = None,
) -> None:
    """Run a catalog's cases: what clicks and postbacks come to, down to the bytes that partners are sent. Sends
    nothing, reads no secret. Exits 1 if one comes out otherwise than it says."""
    with reporting(catalog, format):
        from waypost import assembly
        from waypost.cli.case_report import case_report, report_json

        settings = load_settings(Layout(data).settings if data is not None else None)
        results = assembly.run_cases(catalog, files or [], settings)
        folder = catalog if catalog.is_dir() else catalog.parent
        wrong = sum(bool(result.problems) for result in results)
        print_answer(format, report_json(results, folder), lambda: case_report(results, folder))
        if wrong:
            raise typer.Exit(1)


def _shown_place(path: Path, place: str) -> str:
    """A place of the catalog's, as the user can open it."""
    return f"{(path if path.is_dir() else path.parent) / place}: " if place else ""


def _without_place(doubt: "Doubt") -> str:
    return f"{doubt.subject}: {doubt.detail} [{doubt.code}] ({doubt.hint})"


def _doubt_json(path: Path, doubt: "Doubt") -> dict[str, str]:
    place = _shown_place(path, doubt.place).removesuffix(": ")
    return {
        "code": doubt.code, "place": place, "subject": doubt.subject, "detail": doubt.detail, "hint": doubt.hint,
    }  # fmt: skip


def _in_force(layout: Layout, settings: Settings) -> "tuple[int, Compiled]":
    """The version in force and what it was made from; 0 and an empty catalog if there is none yet."""
    from waypost import assembly
    from waypost.catalog.compiled import Compiled

    store = assembly.open_catalogs(layout, settings)
    version = store.current()
    if version == 0:
        return 0, Compiled()
    view = store.open(version)
    try:
        return version, view.compiled()
    finally:
        view.close()


def _diff_text(version: int, changes: "list[Change]") -> str:
    against = f"catalog version {version}" if version else "no catalog in force yet"
    if not changes:
        return f"no difference to {against}"
    from waypost.catalog.diff_words import by_topic

    lines = [line for topic, found in by_topic(changes).items() for line in (topic, *(f"  {one}" for one in found))]
    counted = {what: sum(change.what == what for change in changes) for what in ("added", "removed", "changed")}
    total = ", ".join(f"{count} {what}" for what, count in counted.items() if count)
    return "\n".join([*lines, f"against {against}: {total}"])


def _counted(counts: Any) -> str:
    return ", ".join(f"{count} {kind if count != 1 else kind.removesuffix('s')}" for kind, count in counts.items())
