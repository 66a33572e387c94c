"""What the catalog says of a lane's way out becomes part of each of its requests, and shows nowhere."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.courier_world import World, settle
from support.name_server import NameServer
from support.partners import OK, serving
from support.rules import rule
from support.sender import answered
from waypost.catalog.model import Authentication, Delivery, OAuth
from waypost.courier.curl import CurlSender
from waypost.courier.guard import AddressGuard
from waypost.model.frames import SendResult
from waypost.ports.sender import Egress, SendReport, SendRequest

URL = "http://partner.example/pb?c={sub1}"
PROXY = "http://me:s3cret-word@proxy.example:3128"

BY_TOKEN = Authentication(oauth=OAuth("http://auth.example/token", "me", "s3cret"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def sent(world: World, answer: Any = answered) -> list[SendRequest]:
    """What one postback of lane 1 makes the courier send."""
    world.put(1)
    courier, sender = world.courier()
    sender.answer = answer
    settle(courier)
    return sender.sent


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_lane_of_which_nothing_is_said_goes_the_usual_way(world: World, is_plain: bool) -> None:
    world.rules[1] = rule(1, url=URL, auth=Authentication() if is_plain else Authentication(bearer="tok-1"))
    (request,) = sent(world)
    assert (request.egress, request.ports, request.first_byte_timeout_ms, request.probe) == (None, (), 0, False)


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"http2": True}, Egress(http2=True)),
        ({"proxy": PROXY}, Egress(proxy=PROXY)),
        ({"proxy": "env:PROXY"}, Egress(proxy=PROXY)),
        ({"source_address": "203.0.113.7"}, Egress(source_address="203.0.113.7")),
        ({"tls13": True}, Egress(tls13=True)),
        ({"http2": True, "proxy": "env:PROXY", "tls13": True}, Egress(True, PROXY, "", True)),
        ({"ports": (9443,), "first_byte_timeout_ms": 700}, None),
    ],
)
def test_what_is_said_is_part_of_each_request(
    world: World, is_plain: bool, said: dict[str, Any], expected: Egress | None
) -> None:
    world.secrets = {"env:PROXY": PROXY}
    world.rules[1] = rule(1, url=URL, auth=Authentication() if is_plain else Authentication(bearer="tok-1"))
    world.deliveries[1] = Delivery(**said)
    (request,) = sent(world)
    assert request.egress == expected
    assert request.ports == said.get("ports", ())
    assert request.first_byte_timeout_ms == said.get("first_byte_timeout_ms", 0)


def test_a_token_is_got_by_the_same_way(world: World) -> None:
    def answer(request: SendRequest) -> SendReport:
        token = b'{"access_token":"tok-1","token_type":"bearer","expires_in":3600}'
        return answered(request, body=token if request.token < 0 else b"OK")

    world.rules[1] = rule(1, url=URL, auth=BY_TOKEN)
    world.deliveries[1] = Delivery(proxy=PROXY, ports=(9443,))
    asked, request = sent(world, answer)
    assert asked.token < 0 and request.token >= 0
    assert asked.egress == request.egress == Egress(proxy=PROXY)
    assert asked.ports == request.ports == (9443,)


@pytest.mark.parametrize(
    "auth", [Authentication(), Authentication(oauth=OAuth("http://auth.example/token", "me", "s3cret"))]
)
def test_without_its_proxy_nothing_is_sent(world: World, auth: Authentication) -> None:
    world.rules[1] = rule(1, url=URL, auth=auth)
    world.deliveries[1] = Delivery(proxy="env:PROXY", adaptive=False)
    assert sent(world) == []
    (attempt,) = world.attempts()
    assert (attempt.code, attempt.outcomes[0].result) == ("auth_secret", SendResult.RETRY)
    assert "PROXY" in attempt.detail
    world.secrets = {"env:PROXY": PROXY}  # set now: the next attempt goes
    courier, sender = world.courier()
    world.clock.advance(60_000)
    settle(courier)
    assert sender.sent and all(one.egress == Egress(proxy=PROXY) for one in sender.sent)


def test_a_probe_without_its_proxy_dials_nothing(world: World) -> None:
    world.deliveries[1] = Delivery(proxy="env:PROXY")
    courier, _ = world.courier()
    settle(courier)
    probe = courier._dispatch.probe(-1, 1, "http://partner.example/")
    assert probe.probe and probe.egress == Egress(proxy="env:PROXY")  # which is no URL: `proxy_failed`
    world.secrets = {"env:PROXY": PROXY}
    world.clock.advance(60_000)
    assert courier._dispatch.probe(-2, 1, "http://partner.example/").egress == Egress(proxy=PROXY)


def test_end_to_end_by_a_real_sender_no_secret_is_kept(world: World) -> None:
    """A proxy that answers with what it was told, in its refusal."""
    names = NameServer({"partner.example": ["127.0.0.1"], "proxy.example": ["127.0.0.1"]})
    settings = msgspec.structs.replace(world.settings, dns_servers=(names.address,))
    echo = b"HTTP/1.1 407 me:s3cret-word\r\nProxy-Authenticate: Basic realm=s3cret-word\r\nContent-Length: 0\r\n\r\n"
    with serving(lambda nth, data: echo) as proxy:
        world.rules[1] = rule(1, url=URL)
        world.deliveries[1] = Delivery(proxy=f"http://me:s3cret-word@proxy.example:{proxy.port}", adaptive=False)
        world.put(1)
        courier, _ = world.courier(CurlSender(settings, AddressGuard(["127.0.0.0/8"], [80])))  # type: ignore[arg-type]
        while not world.attempts():
            courier.step()
        courier.close()
    names.close()
    (attempt,) = world.attempts()
    assert (attempt.code, attempt.status) == ("proxy_failed", 0)
    assert "407" in attempt.detail
    assert "s3cret" not in repr(attempt)


def test_end_to_end_a_lane_leaves_from_its_own_address(world: World) -> None:
    names = NameServer({"partner.example": ["127.0.0.1"]})
    settings = msgspec.structs.replace(world.settings, dns_servers=(names.address,))
    with serving(lambda nth, data: OK) as partner:
        url = f"http://partner.example:{partner.port}/pb?c={{sub1}}"
        world.rules = {1: rule(1, url=url), 2: rule(1, url=url)}
        world.deliveries[1] = Delivery(source_address="127.0.0.9")
        world.put(3)
        world.put(3, lane=2)
        courier, _ = world.courier(CurlSender(settings, AddressGuard(["127.0.0.0/8"], [80])))  # type: ignore[arg-type]
        while len(world.attempts()) < 6:
            courier.step()
        courier.close()
        assert set(partner.peers) == {"127.0.0.9", "127.0.0.1"}
    names.close()
    assert {one.outcomes[0].result for one in world.attempts()} == {SendResult.DELIVERED}
