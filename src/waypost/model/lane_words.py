"""What operators ask of lanes, as the operator's journal carries it: one `OperatorChange` a lane.

Owns: the kinds of such changes and the form of their values. Reads and writes nothing. Rules of growth are those of
frames: a field is only ever added, with a default.
"""

import msgspec

from waypost.errors import WaypostError
from waypost.model.frames import OperatorChange

PAUSE, RESUME, DRAIN, RETRY, DROP = "lane_pause", "lane_resume", "lane_drain", "lane_retry", "lane_drop"
KINDS = frozenset({PAUSE, RESUME, DRAIN, RETRY, DROP})


class LaneWord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked of one lane. `until_seq` is where the outbox ended then: what came later is not meant. Of `states`
    with one of `codes` and `ids` (empty: any), made by a call from `from_ms` up to `to_ms` (0: any)."""

    lane: int
    why: str = ""
    until_seq: int = 0
    states: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    from_ms: int = 0
    to_ms: int = 0
    job: str = ""  # of this job of resends


def change_of(kind: str, name: str, word: LaneWord, *, at_ms: int, by: str) -> OperatorChange:
    """The frame; `name` is the lane's, for people."""
    return OperatorChange(at_ms, kind, name, msgspec.json.encode(word).decode(), by)


def word_of(change: OperatorChange) -> LaneWord:
    """What the frame asks. Raises WaypostError `bad_lane_word`."""
    try:
        return msgspec.json.decode(change.value, type=LaneWord)
    except msgspec.DecodeError as error:
        raise WaypostError("bad_lane_word", str(error), place=change.subject) from error
