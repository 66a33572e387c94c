"""Listening sockets: nobody shares our port by accident, and the messages say what is wrong."""

import socket

import pytest

from waypost.errors import WaypostError
from waypost.runtime.sockets import adopt, free_port, open_listener, open_listeners, port_of


def test_slots_share_one_port() -> None:
    listeners = open_listeners("127.0.0.1", 0, 3)
    assert len({port_of(listener) for listener in listeners}) == 1
    for listener in listeners:
        listener.close()


def test_a_port_that_another_waypost_shares_is_refused() -> None:
    """SO_REUSEPORT alone would let the second one in, and take half of the first one's traffic."""
    with open_listeners("127.0.0.1", 0, 1)[0] as first:
        with pytest.raises(WaypostError) as refused:
            open_listeners("127.0.0.1", port_of(first), 2)
        assert refused.value.code == "port_in_use"
        assert refused.value.place == f"127.0.0.1:{port_of(first)}"


def test_a_port_that_another_program_has_is_refused() -> None:
    with open_listener("127.0.0.1", 0) as first, pytest.raises(WaypostError) as refused:
        open_listener("127.0.0.1", port_of(first))
    assert refused.value.code == "port_in_use"


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(WaypostError) as refused:
        open_listeners("192.0.2.1", 0, 1)
    assert refused.value.code == "cannot_listen"


def test_a_name_that_does_not_resolve_is_refused() -> None:
    with pytest.raises(WaypostError) as refused:
        open_listeners("no-such-host.invalid", 0, 1)
    assert refused.value.code == "cannot_listen"


def test_a_port_is_free_again_at_once_although_connections_linger() -> None:
    listener = open_listener("127.0.0.1", 0)
    port = port_of(listener)
    with socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = listener.accept()
        accepted.close()  # the server closes first: its end lingers in TIME_WAIT
        assert client.recv(1) == b""
    listener.close()
    open_listener("127.0.0.1", port).close()


def test_an_inherited_socket_is_adopted() -> None:
    listener = open_listener("127.0.0.1", 0)
    adopted = adopt(listener.detach())
    with socket.create_connection(adopted.getsockname()):
        adopted.accept()[0].close()
    adopted.close()


def test_what_is_no_listening_socket_is_not_adopted() -> None:
    with socket.socket() as plain:
        with pytest.raises(WaypostError) as refused:
            adopt(plain.fileno())
        assert refused.value.code == "cannot_listen"
    with pytest.raises(WaypostError):
        adopt(9999)


def test_the_preferred_port_is_taken_if_it_is_free() -> None:
    with open_listener("127.0.0.1", 0) as first:
        assert free_port("127.0.0.1", port_of(first)) != port_of(first)
        port = port_of(first)
    assert free_port("127.0.0.1", port) == port
