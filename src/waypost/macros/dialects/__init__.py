"""Other systems' template dialects, one file with one table each; `DIALECTS` names them."""

from collections.abc import Iterable
from typing import Protocol

from waypost.macros.dialects import keitaro
from waypost.macros.dialects.translation import Translation


class Translate(Protocol):
    """What a dialect offers: a template of that system → ours, with everything that a person should look at."""

    def __call__(self, text: str, *, click_parameters: Iterable[str] = ()) -> Translation: ...


DIALECTS: dict[str, Translate] = {"keitaro": keitaro.translate}
