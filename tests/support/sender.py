"""A sender that sends nothing: tests say how each request ends."""

from collections.abc import Callable, Sequence

from waypost.ports.sender import SendReport, SendRequest

Answer = Callable[[SendRequest], SendReport | None]


def answered(
    request: SendRequest, *, status: int = 200, code: str = "", retry_after: str = "", body: bytes = b"OK"
) -> SendReport:
    """The report of a request that was answered so."""
    return SendReport(
        token=request.token,
        code=code,
        detail=code,
        status=0 if code else status,
        address="192.0.2.7",
        dns_us=1,
        connect_us=2,
        tls_us=0,
        first_byte_us=3,
        total_us=4,
        reused=False,
        sent=True,
        body=body,
        retry_after=retry_after,
    )


class FakeSender:
    """`ports.sender.Sender`. `answer` gives each request's report at the next `reports`; None leaves it in flight."""

    def __init__(self, answer: Answer = answered) -> None:
        self.answer = answer
        self.sent: list[SendRequest] = []
        self.open: dict[int, SendRequest] = {}
        self.highest = 0
        self.is_closed = False

    def submit(self, requests: Sequence[SendRequest]) -> None:
        for request in requests:
            assert request.token not in self.open, "submitted twice"
            self.sent.append(request)
            self.open[request.token] = request
        self.highest = max(self.highest, len(self.open))

    def reports(self, wait_ms: float) -> list[SendReport]:
        found = [report for request in self.open.values() if (report := self.answer(request)) is not None]
        for report in found:
            del self.open[report.token]
        return found

    def wake(self) -> None: ...

    @property
    def in_flight(self) -> int:
        return len(self.open)

    def close(self) -> None:
        self.is_closed = True
