"""A partner's client: opens one stream, sends conversions, and prints each receipt once the conversion is stored.

    python examples/grpc_client.py 127.0.0.1:8802 s3cret CLICK_ID CLICK_ID …

The messages are those of `src/waypost/doors/proto/waypost.proto`; in another language generate them with `protoc`. What
was not acknowledged when a stream ends is sent again on the next one: with an idempotency key that never makes a second
conversion. Keep no more unacknowledged than you can send again; gRPC holds you back when the door does.
"""

import sys
from collections import deque
from collections.abc import Iterable, Iterator

import grpc

from waypost.doors.proto.waypost_pb2 import Answers, Conversion, Conversions


def batches(conversions: Iterable[Conversion], size: int, unacknowledged: deque[Conversions]) -> Iterator[Conversions]:
    """Messages of so many conversions each; each is remembered until it is acknowledged."""
    waiting: list[Conversion] = []
    for conversion in conversions:
        waiting.append(conversion)
        if len(waiting) == size:
            unacknowledged.append(Conversions(conversions=waiting))
            yield unacknowledged[-1]
            waiting = []
    if waiting:
        unacknowledged.append(Conversions(conversions=waiting))
        yield unacknowledged[-1]


def main(address: str, token: str, click_ids: list[str]) -> None:
    conversions = [Conversion(click_id=one, goal="install", idempotency_key=f"install-{one}") for one in click_ids]
    unacknowledged: deque[Conversions] = deque()
    with grpc.insecure_channel(address) as channel:
        stream = channel.stream_stream(
            "/waypost.v1.Intake/Stream",
            request_serializer=Conversions.SerializeToString,
            response_deserializer=Answers.FromString,
        )
        answers = stream(batches(conversions, 100, unacknowledged), metadata=(("waypost-token", token),))
        try:
            for said in answers:
                for conversion, answer in zip(unacknowledged.popleft().conversions, said.answers, strict=True):
                    print(conversion.click_id, answer.receipt or f"{answer.error}: {answer.message}")
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}; {len(unacknowledged)} messages to be sent again")
            sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
