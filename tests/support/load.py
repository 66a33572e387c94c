"""Load through real sockets: visitors that click, and an advertiser that calls, over keep-alive connections.

Several workers in one thread of asyncio, each with two connections between which it changes from call to call, so
that the calls of one transaction come through several doors, each after the answer to the one before. Whatever gets
no answer because its connection died is tried again with the same values, as an advertiser would; each try is kept in
its `Call`.
The mix is drawn from a seed: the same seed makes the same visits in the same order.
"""

import asyncio
import contextlib
import itertools
import json
import random
import re
import threading
import time
from urllib.parse import parse_qs, urlencode, urlsplit

from support.expected import PARTNERS, Call, Visit

ANSWER_WITHIN_S = 30.0
PAUSE_S = 0.02  # before a connection is made again
CONNECTIONS = 2  # of a worker
BETWEEN_CALLS_S = 0.002  # two calls that two doors take in the same millisecond have no order
LATER_SHARE = 0.3  # of visits whose calls come some time after their click
TOKEN = "s3cret"


class NoAnswerError(Exception):
    """The connection died after the request was sent: nobody can say whether it counts."""


class Connection:
    """One keep-alive HTTP/1.1 connection, made when first used and again after it died."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Raises OSError if nobody listens."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)

    async def get(self, target: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and body. Raises NoAnswerError."""
        await self.open()
        assert self._streams is not None
        reader, writer = self._streams
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                writer.write(f"GET {target} HTTP/1.1\r\nHost: waypost\r\n\r\n".encode("ascii"))
                await writer.drain()
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            raise NoAnswerError(str(error)) from error
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(first.split(" ")[1]), headers, body.decode()

    def close(self) -> None:
        if self._streams is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._streams[1].close()
            self._streams = None


def visits_of(seed: int, count: int) -> list[Visit]:
    """The mix: conversions of each kind, duplicates, updates, forged ids, wrong goals, sums that are none."""
    return [_visit(random.Random(f"{seed} {nth}"), nth) for nth in range(count)]


def _visit(dice: random.Random, nth: int) -> Visit:
    txn = f"t-{nth}"
    kinds: dict[str, tuple[int, list[Call]]] = {
        "install": (20, [Call("install", txn)]),
        "twice": (10, [Call("install", txn), Call("install", txn)]),
        "without transaction": (6, [Call("install"), Call("install")]),
        "trial that is bought": (10, [Call("trial", txn), Call("trial", txn, "approved"), Call("trial", txn)]),
        "trial that ends": (6, [Call("trial", txn), Call("trial", txn, "declined")]),
        "cancelled": (10, [Call("install", txn), Call("install", txn, "declined"), Call("install", txn, "pending")]),
        "restored": (4, [Call("install", txn, status) for status in ("approved", "declined", "approved")]),
        "purchase": (10, [Call("purchase", txn, sum=_sum(dice, 2))]),
        "purchase in yen": (3, [Call("purchase", txn, sum=_sum(dice, 0), currency="JPY")]),
        "purchase in dinars": (3, [Call("purchase", txn, sum=_sum(dice, 3), currency="KWD")]),
        "corrected sum": (6, [Call("purchase", txn, sum=_sum(dice, 2)), Call("purchase", txn, sum=_sum(dice, 2))]),
        "two goals": (6, [Call("install", txn), Call("purchase", txn, sum=_sum(dice, 2))]),
        "forged": (4, [Call("install", txn, click_id=_forged(dice))]),
        "wrong goal": (4, [Call("instal", txn)]),
        "no sum": (4, [Call("purchase", txn), Call("purchase", txn, sum="1e5")]),
        "capped": (24, [Call("install", txn), Call("install", txn)]),
    }
    kind = dice.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
    offer = "capped" if kind == "capped" else "vpn"
    sub1 = f"{nth}-ä b&c/%" if nth % 50 == 0 else f"v-{nth}"
    return Visit(dice.choice(PARTNERS), offer, sub1, kinds[kind][1])


def _sum(dice: random.Random, decimals: int) -> str:
    number = dice.randrange(1, 100_000)
    return f"{number // 10**decimals}.{number % 10**decimals:0{decimals}d}" if decimals else str(number)


def _forged(dice: random.Random) -> str:
    return "0" + "".join(dice.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=22))


class Load:
    """Runs `visits` at `rate` visits a second in a thread of its own; `finish` waits for the last answer."""

    def __init__(self, port: int, visits: list[Visit], *, rate: float, workers: int = 8) -> None:
        self.visits = visits
        self.done = 0  # visits whose calls are all answered
        self.clicks = 0
        self.unanswered = 0
        self.connect_failures: list[float] = []  # when no connection could be made
        self.wrong: list[str] = []  # answers that nobody should get
        self.unavailable = 0  # 503: not durable, to be tried again
        self._port, self._rate, self._workers = port, rate, workers
        self._next = iter(visits)
        self._later: list[Visit] = []
        self._dice = random.Random(len(visits))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: BaseException | None = None
        self._is_stopped = False

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopped = True
        self._thread.join(ANSWER_WITHIN_S)

    def reached(self, visits: int) -> bool:
        """Whether so many visits are done; raises what ended the load."""
        if self._failure is not None:
            raise self._failure
        return self.done >= visits

    def finish(self, deadline_s: float) -> None:
        """Waits until every call has its answer."""
        self._thread.join(deadline_s)
        assert not self._thread.is_alive(), f"the load is not done: {self.done} of {len(self.visits)} visits"
        self.reached(0)

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as error:
            self._failure = error

    async def _all(self) -> None:
        self._began_s = time.monotonic()
        self._started = 0
        await asyncio.gather(*(self._work() for _ in range(self._workers)))

    async def _work(self) -> None:
        connections = [Connection(self._port) for _ in range(CONNECTIONS)]
        turns = itertools.cycle(connections)
        try:
            while not self._is_stopped and (visit := await self._take()) is not None:
                if not visit.click_id:
                    await self._click(next(turns), visit)
                    if self._dice.random() < LATER_SHARE:
                        self._later.append(visit)
                        continue
                for call in visit.calls:
                    await asyncio.sleep(BETWEEN_CALLS_S)
                    await self._call(next(turns), visit, call)
                self.done += 1
        finally:
            for connection in connections:
                connection.close()

    async def _take(self) -> Visit | None:
        """The next visit when its time has come; between them those whose calls come later."""
        if len(self._later) > 100:
            return self._later.pop(self._dice.randrange(len(self._later)))
        visit = next(self._next, None)
        if visit is None:
            return self._later.pop() if self._later else None
        due_s = self._began_s + self._started / self._rate
        self._started += 1
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        return visit

    async def _click(self, connection: Connection, visit: Visit) -> None:
        query = urlencode({"sub1": visit.sub1})
        target = f"/c/{visit.partner}-{visit.offer}?{query}"
        while not self._is_stopped:
            answer = await self._ask(connection, target)
            if answer is None:
                continue
            status, headers, body = answer
            location = urlsplit(headers.get("location", ""))
            sent = parse_qs(location.query)
            if status != 302 or not re.fullmatch(r"\w{23}", sent.get("cid", [""])[0]) or sent["s"] != [visit.sub1]:
                self.wrong.append(f"{target}: {status} {headers} {body}")
            visit.click_id = sent.get("cid", ["none"])[0]
            self.clicks += 1
            return

    async def _call(self, connection: Connection, visit: Visit, call: Call) -> None:
        target = f"/postback?{urlencode(call.parameters(visit.click_id) | {'token': TOKEN})}"
        while not self._is_stopped:
            answer = await self._ask(connection, target, call)
            if answer is None:
                continue
            status, _, body = answer
            receipt = str(json.loads(body).get("receipt", ""))
            if status != 200 or not re.fullmatch(r"r[0-9a-f]{16}", receipt):
                self.wrong.append(f"{target}: {status} {body}")
            call.tries.append(receipt)
            return

    async def _ask(
        self, connection: Connection, target: str, call: Call | None = None
    ) -> tuple[int, dict[str, str], str] | None:
        """An answer; None if there was none, and for 503: then it is to be tried again."""
        try:
            await connection.open()
        except OSError:
            self.connect_failures.append(time.monotonic())
            await asyncio.sleep(PAUSE_S)
            return None
        try:
            answer = await connection.get(target)
        except NoAnswerError:
            self.unanswered += 1
            answer = None
        if answer is not None and answer[0] == 503:
            self.unavailable += 1
            answer = None
        if answer is None:
            if call is not None:
                call.tries.append("")
            await asyncio.sleep(PAUSE_S)
        return answer
