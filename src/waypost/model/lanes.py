"""Lane numbers: a partner's own lane, and those that its rules ask for by name.

Owns: how a lane's number is made from partner and name. Never changes: stored frames carry the result.
"""

from hashlib import blake2b

_PARTNER_BITS = 28
PARTNERS_MAX = 1 << _PARTNER_BITS


def lane_number(partner: int, name: str = "") -> int:
    """The lane of a partner's postbacks; with a name one beside it. Fits 60 bits."""
    if not name:
        return partner
    return (int.from_bytes(blake2b(name.encode(), digest_size=4).digest()) | 1) << _PARTNER_BITS | partner


def partner_of_lane(lane: int) -> int:
    """Whose lane it is."""
    return lane & PARTNERS_MAX - 1
