"""Reading the outbox: a shard's postbacks, in order, a little ahead of what is taken.

Owns: what was read and not taken yet, and up to where the outbox need not be kept for this courier. Reads the outbox;
publishes one position. Never writes the lanes: what was taken counts when they have committed it.
"""

from collections import deque
from collections.abc import Callable

from waypost.errors import WaypostError
from waypost.model.frames import PostbackOut
from waypost.model.wire import Decoded, decode_block, split_block
from waypost.ports.feed import Block, Feed, Positions
from waypost.ports.lanes import ItemState, LaneItem, Rank

_FAR = 1 << 62  # beyond every place
_QUEUED, _LIVE, _RESEND = ItemState.QUEUED, Rank.LIVE, Rank.RESEND  # looked up beforehand: it takes long


class OutboxReader:
    """`name` is the reader's, under which its position is published; nothing is read from `until` on."""

    def __init__(
        self,
        outbox: Feed,
        owns: Callable[[int], bool],
        positions: Positions,
        name: str,
        take_max: int,
        until: int = _FAR,
    ) -> None:
        self._until = until
        self._outbox, self._owns, self._positions, self._name, self._take_max = outbox, owns, positions, name, take_max
        self._inbox: deque[tuple[int, Decoded | None, bytes]] = deque()  # None: of another shard
        self._ahead: dict[int, int] = {}  # how many of each lane's are in the inbox
        self._read_end = 0  # where the next block of the outbox begins
        self._block_ends: deque[int] = deque()  # of blocks not wholly taken
        self._boundary = 0  # the outbox is taken up to here or further; a block begins here
        self.position = 0  # taken up to here

    def start(self, position: int) -> None:
        """Begins at the lanes' position, which may lie inside a block. Raises WaypostError `store_gap`."""
        self.position = position
        first = self._outbox.head().first
        published = self._positions.of(self._outbox.name).get(self._name, first)
        self._boundary = self._read_end = published if first <= published <= position else first
        if self._read_end > position:
            raise WaypostError(
                "store_gap", f"the lanes stand at {position}, the outbox begins at {first}", place="outbox"
            )

    def look(self, wanted: int) -> int:
        """Reads until so many frames are there to be taken, or no more are; answers how many lanes are among them."""
        inbox, ahead, owns = self._inbox, self._ahead, self._owns
        while len(inbox) < wanted:
            blocks = self._outbox.read(self._read_end, self._take_max)
            if not blocks:
                break
            for block in blocks:
                frames = zip(decode_block(block.data, block.count), _split(block), strict=True)
                for seq, (frame, raw) in enumerate(frames, block.first):
                    if self.position <= seq < self._until:
                        if type(frame) is not PostbackOut:
                            inbox.append((seq, frame, raw))
                        elif owns(frame.lane):
                            inbox.append((seq, frame, raw))
                            ahead[frame.lane] = ahead.get(frame.lane, 0) + 1
                        else:
                            inbox.append((seq, None, b""))
                self._block_ends.append(block.end)
            self._read_end = blocks[-1].end
        return len(ahead)

    def next(self) -> tuple[int, Decoded, bytes] | None:
        """Takes a postback of this shard, or what is none: its place, the frame, its bytes. None: nothing is left."""
        inbox, ahead = self._inbox, self._ahead
        while inbox:
            seq, frame, raw = inbox.popleft()
            self.position = seq + 1
            if frame is None:
                continue
            if type(frame) is PostbackOut:
                left = ahead[frame.lane] - 1
                if left:
                    ahead[frame.lane] = left
                else:
                    del ahead[frame.lane]
            return seq, frame, raw
        return None

    def publish(self, committed: int) -> None:
        """Says up to where the outbox is not needed any more, the lanes having committed so much of it."""
        while self._block_ends and self._block_ends[0] <= committed:
            self._boundary = self._block_ends.popleft()
        self._positions.publish(self._name, self._outbox.name, self._boundary)


def new_item(seq: int, post: PostbackOut, raw: bytes, now_ms: int) -> LaneItem:
    """How a postback that is taken from the outbox stands in its lane. A resend keeps no order, for it would hold up
    what is live."""
    due_ms = post.due_ms if post.due_ms > now_ms else 0
    rank, key = (_RESEND, "") if post.job else (_LIVE, post.key)
    return LaneItem(seq, post.lane, post.id, _QUEUED, 0, due_ms, 0, raw, False, rank, key)


def _split(block: Block) -> list[bytes]:
    """The frames' bytes as they were written: a newer release's fields stay in them."""
    try:
        raws = split_block(block.data)
    except WaypostError:
        raws = []
    return raws if len(raws) == block.count else [b""] * block.count
