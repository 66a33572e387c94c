"""A partner's gRPC client: streams and single calls to a door, by the messages of waypost.proto."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from waypost.doors.proto.waypost_pb2 import Answers, Conversion, Conversions

SERVICE = "/waypost.v1.Intake"


def conversions(*calls: dict[str, Any]) -> Conversions:
    return Conversions(conversions=[Conversion(**call) for call in calls])


class Stream:
    """One open stream. `send` and `read` are independent: nothing is read unless asked for."""

    def __init__(self, channel: grpc.Channel, metadata: dict[str, str], *, raw: bool = False) -> None:
        self._out: queue.SimpleQueue[Any] = queue.SimpleQueue()
        method = channel.stream_stream(
            f"{SERVICE}/Stream",
            request_serializer=None if raw else Conversions.SerializeToString,
            response_deserializer=Answers.FromString,
        )
        self.call = method(iter(self._out.get, None), metadata=tuple(metadata.items()), timeout=30)

    def send(self, message: Any) -> None:
        self._out.put(message)

    def read(self) -> list[Any]:
        """The answers of the next message."""
        return list(next(self.call).answers)

    def end(self) -> None:
        """Sends no more."""
        self._out.put(None)

    def failure(self) -> tuple[str, str]:
        """The status' name and text with which the stream ends."""
        try:
            for _ in self.call:
                pass
        except grpc.RpcError as error:
            self._out.put(None)
            return str(error.code().name), str(error.details())  # type: ignore[attr-defined]
        return "OK", ""


@contextmanager
def channel_to(port: int, credentials: Any = None, **options: Any) -> Iterator[grpc.Channel]:
    pairs = [*options.items(), ("grpc.enable_retries", 0)]
    address = f"localhost:{port}" if credentials else f"127.0.0.1:{port}"
    channel = (
        grpc.secure_channel(address, credentials, options=pairs)
        if credentials
        else grpc.insecure_channel(address, options=pairs)
    )
    try:
        yield channel
    finally:
        channel.close()


def report(channel: grpc.Channel, message: Conversions, metadata: dict[str, str]) -> list[Any]:
    method = channel.unary_unary(
        f"{SERVICE}/Report", request_serializer=Conversions.SerializeToString, response_deserializer=Answers.FromString
    )
    return list(method(message, metadata=tuple(metadata.items()), timeout=30).answers)
