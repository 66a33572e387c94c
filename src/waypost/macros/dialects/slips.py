"""Slips of the hand in a macro's name.

Owns: what counts as one. Reads and writes nothing. Never knows a name.
"""

_LOOKALIKES = str.maketrans("асеорхуіјАВСЕНІКМОРТХ", "aceopxyijABCEHIKMOPTX")


def latin(name: str) -> str:
    """The name with the Cyrillic letters that look like Latin ones as those."""
    return name.translate(_LOOKALIKES)


def one_slip(left: str, right: str) -> bool:
    """One letter wrong, missing, too much, or two neighbours swapped."""
    if abs(len(left) - len(right)) > 1:
        return False
    at = next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    a, b = left[at:], right[at:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
