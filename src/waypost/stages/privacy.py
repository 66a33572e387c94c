"""Privacy: what may leave for whom.

Input: the macros that a rule uses. Output: those whose values may be sent. Pure. Until policies are part of the
catalog, what can identify a person or a device never leaves.
"""

from functools import lru_cache

# Names that identify a person or a device wherever they come from.
_NAMES = """
ip user_ip ua user_agent email email_hash phone msisdn idfa idfv gaid gps_adid adid oaid android_id device_id deviceid
imei mac mac_address user_id name first_name last_name address lat lon fbc fbp
"""
PERSONAL = frozenset(_NAMES.split())


@lru_cache(maxsize=65536)
def sendable(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names among these whose values may leave."""
    return tuple(name for name in names if not is_personal(name))


def is_personal(name: str) -> bool:
    """Whether a macro identifies a person or a device; a free click parameter (`click.NAME`) is judged by its NAME."""
    return name.removeprefix("click.").lower() in PERSONAL
