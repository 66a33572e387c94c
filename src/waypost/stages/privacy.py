"""Privacy: what may leave for whom.

Input: the macros that a rule uses. Output: those whose values may be sent. Pure. Until policies are part of the
catalog, what identifies a person or a device by its name (`macros.names.PERSONAL`) never leaves.
"""

from functools import lru_cache

from waypost.macros.names import is_personal


@lru_cache(maxsize=65536)
def sendable(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names among these whose values may leave."""
    return tuple(name for name in names if not is_personal(name))
