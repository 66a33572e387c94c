"""Lanes as operators know them: by partner and name.

Owns: the way between a lane's number and its name. Pure.
"""

from waypost.catalog.model import Partner
from waypost.model.lanes import lane_number, partner_of_lane

_PARTNER_BITS = 28


def lane_name(lane: int, partner: Partner | None) -> str:
    """The partner's name, with the lane's own behind it where its rules give it one."""
    number = partner_of_lane(lane)
    name = partner.name if partner is not None else str(number)
    if lane == number:
        return name
    named = (rule.lane for rule in (partner.rules if partner is not None else ()) if rule.lane)
    return f"{name}/{next((one for one in named if lane_number(number, one) == lane), lane >> _PARTNER_BITS)}"


def lanes_of(partner: Partner) -> list[int]:
    """The numbers of a partner's lanes: its own, and those that its rules name."""
    named = dict.fromkeys(rule.lane for rule in partner.rules)
    return list(dict.fromkeys([partner.no, *(lane_number(partner.no, name) for name in named)]))
