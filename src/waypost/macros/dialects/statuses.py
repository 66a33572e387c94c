"""Words for statuses: other systems' ↔ ours, as a `map` filter.

Owns: how such a map is written, and how one is recognised. Reads and writes nothing.
"""

from collections.abc import Mapping

from waypost.macros.syntax import Macro, MacroError, parse, quote_argument

ORDER = ("pending", "approved", "declined", "hold")


def write_map(name: str, words: Mapping[str, str]) -> str:
    """`{status|map(pending=…, approved=…, …)}`, in the order of ORDER."""
    pairs = ", ".join(f"{status}={quote_argument(words[status])}" for status in ORDER if status in words)
    return f"{{{name}|map({pairs})}}"


def read_map(name: str, ours: str) -> dict[str, str] | None:
    """The words of such a map; None for anything else."""
    try:
        nodes = parse("{" + ours + "}")
    except MacroError:
        return None
    if len(nodes) != 1 or not isinstance(nodes[0], Macro) or nodes[0].name != name or len(nodes[0].calls) != 1:
        return None
    call = nodes[0].calls[0]
    if call.name != "map":
        return None
    return {argument.key: argument.value for argument in call.arguments if argument.key is not None}
