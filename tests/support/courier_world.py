"""A courier on real lanes in SQLite, with everything around them in memory, that can be killed and opened again."""

from pathlib import Path
from typing import Any

import msgspec

from support.catalogs import MemoryCatalogs, MemoryView
from support.clock import FakeClock
from support.feeds import MemoryFeed, MemoryJournal, MemoryPositions
from support.sender import FakeSender, answered
from waypost.catalog.model import Delivery, Partner, PostbackRule
from waypost.courier.courier import Courier
from waypost.engines.sqlite.lanes import SqliteLanes
from waypost.engines.sqlite.lanes_flights import BLOCKS_MAX
from waypost.errors import WaypostError
from waypost.model.frames import Attempt, PostbackOut, SendResult
from waypost.ports.sender import SendReport, SendRequest
from waypost.settings import CourierSettings, load_settings
from waypost.telemetry.stats import Stats

URL = "http://partner.example/pb?c={sub1}&n={attempt}&r={is_repeat}"


class Die(BaseException):
    """Stands for a kill: nothing of ours may catch it."""


class World:
    """What outlives a courier: outbox, lanes' file, journal, clock. `courier()` opens a new one on it."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.file = folder / "shard-0.db"
        self.clock = FakeClock()
        self.outbox = MemoryFeed("outbox")
        self.journal_feed = MemoryFeed("courier-0")
        self.words = MemoryFeed("operator")
        self.positions = MemoryPositions()
        # Partners that fail in these tests are not held back for it, unless a test says so.
        defaults = {
            "retry_schedule_ms": (1000, 10_000),
            "retry_jitter": 0.0,
            "breaker_share": 0.0,
            "offline_share": 0.0,
        }
        self.settings: CourierSettings = msgspec.structs.replace(
            load_settings(None, {}).courier, **{**defaults, **changes}
        )
        self.deliveries: dict[int, Delivery] = {}
        self.rules: dict[int, PostbackRule] = {}
        self.made: list[Courier] = []
        self.secrets: dict[str, str] = {}
        self.blocks_max = BLOCKS_MAX

    def catalogs(self) -> MemoryCatalogs:
        partners = [
            Partner(
                number,
                f"partner-{number}",
                (self.rules.get(number, PostbackRule(1, (), (), (), (), "GET", URL, {}, "", ())),),
                self.deliveries.get(number, Delivery(adaptive=False)),
            )
            for number in range(1, 60)
        ]
        return MemoryCatalogs(MemoryView(1, [], [], partners, []))

    def courier(self, sender: FakeSender | None = None) -> tuple[Courier, FakeSender]:
        """A courier that starts where the last one ended, which is dropped as a kill would drop it."""
        for old in self.made:
            old._lanes.close()
        sender = sender or FakeSender()
        self.stats = Stats("courier-0")
        courier = Courier(
            outbox=self.outbox,
            lanes=SqliteLanes(self.file, shard=0, shards=1, blocks_max=self.blocks_max),
            journal=MemoryJournal(self.journal_feed),
            own_feed=self.journal_feed,
            catalogs=self.catalogs(),
            sender=sender,
            settings=self.settings,
            clock=self.clock,
            stats=self.stats,
            positions=self.positions,
            resolve=self.resolve,
            words=self.words,
        )
        self.made.append(courier)
        return courier, sender

    def resolve(self, reference: str) -> str:
        """A secret by its reference; any other text is the secret itself."""
        if reference.startswith("env:") and reference not in self.secrets:
            raise WaypostError("catalog_secret", f"the environment variable {reference[4:]} is not set")
        return self.secrets.get(reference, reference)

    def put(self, count: int, *, lane: int = 1, test: bool = False, due_ms: int = 0, batched: bool = False) -> None:
        """Postbacks into the outbox, one block."""
        first = self.outbox.end
        now_ms = self.clock.now_ms()
        self.outbox.put(
            [
                PostbackOut(
                    f"p{seq}", lane, lane, 0, seq, 1, 1, now_ms, now_ms, {"sub1": str(seq)}, test, due_ms, batched
                )
                for seq in range(first, first + count)
            ]
        )

    def attempts(self) -> list[Attempt]:
        return [frame for frame in self.journal_feed.frames() if isinstance(frame, Attempt)]

    def lanes(self) -> SqliteLanes:
        return SqliteLanes(self.file, shard=0, shards=1, read_only=True)

    def depth(self) -> tuple[int, int, int]:
        lanes = self.lanes()
        depths = lanes.depths()
        assert lanes.problems() == []
        lanes.close()
        return (sum(d.queued for d in depths), sum(d.in_flight for d in depths), sum(d.dead for d in depths))


def settle(courier: Courier, steps: int = 200) -> None:
    """Steps until there is nothing to do now."""
    for _ in range(steps):
        if courier.step() == 0:
            return
    raise AssertionError("the courier never came to rest")


def fails(status: int = 500) -> Any:
    return lambda request: answered(request, status=status)


def hangs(request: SendRequest) -> SendReport | None:
    return None


def check_nothing_is_lost(world: World, count: int, sent_before: list[SendRequest]) -> list[SendRequest]:
    """A new courier ends what the old one left; answers what it sent."""
    courier, sender = world.courier()
    settle(courier)
    assert world.depth() == (0, 0, 0)
    delivered = [
        outcome.id for one in world.attempts() for outcome in one.outcomes if outcome.result is SendResult.DELIVERED
    ]
    assert sorted(set(delivered)) == sorted(f"p{seq}" for seq in range(count))
    seen = {request.token for request in sent_before}
    for request in sender.sent:
        assert ("Waypost-Repeat" in dict(request.headers)) == (request.token in seen)
    return sender.sent
