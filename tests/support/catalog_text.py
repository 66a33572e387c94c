"""The design's catalog as text, and ways to compile variations of it."""

from pathlib import Path

from waypost.catalog.compile import compile_catalog
from waypost.catalog.compiled import Compiled
from waypost.catalog.problems import CatalogError, CatalogErrors
from waypost.settings import load_settings

CATALOGS = Path(__file__).parent.parent / "golden" / "catalogs"
DESIGN = (CATALOGS / "design.yaml").read_text("utf-8")
SETTINGS = load_settings(environment={}).catalog


def compiled(text: str) -> Compiled:
    return compile_catalog([("c.yaml", text)], SETTINGS)


def errors(text: str) -> list[CatalogError]:
    """All that is wrong with it; empty if nothing is."""
    try:
        compiled(text)
    except CatalogErrors as found:
        return list(found.errors)
    return []


def changed(before: str, after: str) -> str:
    """The design's catalog with one piece of text replaced."""
    assert DESIGN.count(before) == 1, before
    return DESIGN.replace(before, after)
