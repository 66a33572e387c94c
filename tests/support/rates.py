"""How often something happened within a span of time."""


def most_within(times: list[int], span_ms: int) -> int:
    """The largest number within any span of this length."""
    most = first = 0
    for last, ms in enumerate(times):
        while times[first] <= ms - span_ms:
            first += 1
        most = max(most, last - first + 1)
    return most
