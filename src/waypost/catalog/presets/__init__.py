"""Ready-made integrations: one YAML file a partner, and the shelf that they are taken from.

Owns: which presets there are. Reads: the files of this package, which are part of the program, one when it is asked
for. Writes nothing. What a file says is in `preset.py`; what it does to a catalog is in `sections/presets.py`.
"""

from collections.abc import Callable, Collection
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from waypost.catalog.preset import Preset, read_preset

ENDING = ".yaml"


class Shelf(NamedTuple):
    """Presets by name. `preset` reads one; it is asked for names of `names` only."""

    names: Collection[str]
    preset: Callable[[str], Preset]


@cache
def shipped() -> Shelf:
    """The presets of this release."""
    found = (file.name for file in files(__package__).iterdir())
    names = tuple(sorted(name.removesuffix(ENDING) for name in found if name.endswith(ENDING)))
    return Shelf(names, _shipped_preset)


@cache
def _shipped_preset(name: str) -> Preset:
    return read_preset(name, files(__package__).joinpath(name + ENDING).read_text("utf-8"))
