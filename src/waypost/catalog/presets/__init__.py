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
    """Presets by name. `text_of` reads one's file; it is asked for names of `names` only."""

    names: Collection[str]
    text_of: Callable[[str], str]

    def preset(self, name: str) -> Preset:
        """The preset of this name, which must be one of `names`."""
        return read_preset(name, self.text_of(name))


@cache
def _shipped_names() -> tuple[str, ...]:
    found = (file.name for file in files(__package__).iterdir())
    return tuple(sorted(name.removesuffix(ENDING) for name in found if name.endswith(ENDING)))


@cache
def _shipped_text(name: str) -> str:
    return files(__package__).joinpath(name + ENDING).read_text("utf-8")


def shipped() -> Shelf:
    """The presets of this release."""
    return Shelf(_shipped_names(), _shipped_text)
