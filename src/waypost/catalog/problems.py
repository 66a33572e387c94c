"""What is wrong with a catalog: all of it, collected, each with its place, field and a hint at what was meant.

Owns: the collector, its bound, and the search for a name that is near a mistyped one. Reads and writes nothing.
Never stops at the first mistake, and never shows a secret: values of secret fields are left out by the caller.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from waypost.errors import WaypostError

PROBLEMS_MAX = 100
VALUE_SHOWN_MAX = 80
_NEAR_MAX = 200  # candidates compared on each side of a name in a large catalog


class CatalogError(WaypostError):
    """One mistake. `place` is `file:line`, `field` a path such as `offers.acme.url`, `value` what stands there."""

    def __init__(
        self, code: str, message: str, *, place: str, field: str = "", value: str = "", hint: str = ""
    ) -> None:
        self.field = field
        self.value = value
        self.message = message
        super().__init__(code, f"{field}: {message}" if field else message, place=place, hint=hint)


class CatalogErrors(WaypostError):  # noqa: N818 (several errors)
    """A catalog that was refused. `errors` are in order of place; `more` counts those beyond the bound.

    It carries the first error's code, place and hint, so that code that knows one error only can show that one.
    """

    def __init__(self, errors: Iterable[CatalogError], more: int = 0) -> None:
        self.errors = tuple(errors)
        self.more = more
        first = self.errors[0]
        super().__init__(first.code, first.detail, place=first.place, hint=first.hint)

    def __str__(self) -> str:
        lines = [str(error) for error in self.errors]
        if self.more:
            lines.append(f"and {self.more} more")
        return "\n".join(lines)


class Problems:
    """Collects up to `PROBLEMS_MAX`; counts what is beyond."""

    def __init__(self) -> None:
        self._found: list[CatalogError] = []
        self._order: list[tuple[str, int]] = []
        self._more = 0

    def __len__(self) -> int:
        return len(self._found) + self._more

    @property
    def unreadable(self) -> bool:
        """Whether a text could not be read at all, so that checking on would say what is not so."""
        return any(problem.code in ("catalog_syntax", "catalog_too_large") for problem in self._found)

    def add(
        self,
        code: str,
        message: str,
        at: tuple[str, int],
        *,
        field: str = "",
        value: str = "",
        hint: str = "",
        meant: Collection[str] = (),
    ) -> None:
        """Notes a mistake at (file, line). `meant` are the names that `value` may have been meant to be."""
        if len(self._found) >= PROBLEMS_MAX:
            self._more += 1
            return
        nearest = nearest_name(value, meant) if meant else ""
        if nearest:
            hint = f"did you mean `{nearest}`?"
        shown = value if len(value) <= VALUE_SHOWN_MAX else value[: VALUE_SHOWN_MAX - 1] + "…"
        file, line = at
        place = f"{file}:{line}"
        origin = getattr(at, "origin", "")  # what a preset lent stands at `preset:`, and in the preset
        message = f"{message} ({origin})" if origin else message
        self._found.append(CatalogError(code, message, place=place, field=field, value=shown, hint=hint))
        self._order.append(at)

    def raise_any(self) -> None:
        """Raises CatalogErrors if anything was noted."""
        if self._found:
            order = sorted(range(len(self._found)), key=self._order.__getitem__)
            raise CatalogErrors([self._found[nth] for nth in order], self._more)


def nearest_name(name: str, names: Collection[str]) -> str:
    """The one of `names` that is closest to `name`, or empty; of many names only the neighbours are compared."""
    candidates = list(names)
    if len(candidates) > 4 * _NEAR_MAX:
        candidates = _neighbours(name, candidates) + [
            n[::-1] for n in _neighbours(name[::-1], [n[::-1] for n in names])
        ]
    lowered = {candidate.lower(): candidate for candidate in candidates}
    close = get_close_matches(name.lower()[:64], lowered, n=1, cutoff=0.6)
    return lowered[close[0]] if close else ""


def _neighbours(name: str, names: list[str]) -> list[str]:
    names.sort()
    at = bisect_left(names, name)
    return names[max(0, at - _NEAR_MAX) : at + _NEAR_MAX]
