"""A whole installation whose partners are reached in every way that the catalog knows, over real sockets."""

from pathlib import Path

import pytest
import yaml

from support.certificates import Authority
from support.http2 import Http2Server
from support.installation import fetch, until
from support.name_server import NameServer
from support.partners import OK, serving
from support.proxy_server import proxying
from support.waypost_process import WaypostProcess, of_event

pytestmark = pytest.mark.system

PARTNERS = ("plain", "modern", "proxied", "bound", "forged", "inner", "gone")


def catalog(urls: dict[str, str], deliveries: dict[str, dict[str, object]]) -> str:
    retry = {"retry": ["30s"]}
    return yaml.safe_dump(
        {
            "waypost": 1,
            "advertisers": {"acme": {"token": "s3cret"}},
            "offers": {
                "vpn": {
                    "advertiser": "acme",
                    "url": "https://acme.example/land?c={click_id}",
                    "goals": {"install": {"payout": "1.20 USD"}},
                }
            },
            "partners": {
                name: {
                    "postbacks": [{"on": {"goal": "install", "status": "approved"}, "get": urls[name]}],
                    "delivery": {**retry, **deliveries.get(name, {})},
                }
                for name in PARTNERS
            },
            "links": {name: {"partner": name, "offer": "vpn"} for name in PARTNERS},
        },
        sort_keys=False,
    )


def test_each_partner_is_reached_in_its_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_OF_OURS", "placeholder")
    authority = Authority(tmp_path / "tls")
    authority.issue(tmp_path / "good.pem", tmp_path / "good.key", "modern.example")
    authority.issue(tmp_path / "bad.pem", tmp_path / "bad.key", "other.example")
    names = NameServer({f"{name}.example": ["127.0.0.1"] for name in ("plain", "modern", "proxied", "bound", "forged")})
    names.table["inner.example"] = ["127.0.0.1", "10.0.0.7"]
    modern = Http2Server(tmp_path / "good.pem", tmp_path / "good.key", lambda one, stream, nth: one.answer(stream))
    forged = Http2Server(tmp_path / "bad.pem", tmp_path / "bad.key", lambda one, stream, nth: one.answer(stream))
    settings = (
        f'[courier]\ndns_servers = ["{names.address}"]\nauthorities_file = "{authority.file}"\n'
        'user_agent_comment = "+https://ours.example/"\n'
    )
    try:
        with serving(lambda nth, data: OK) as plain, proxying(credentials="me:s3cret-word") as proxy:
            monkeypatch.setenv("PROXY_OF_OURS", f"http://me:s3cret-word@127.0.0.1:{proxy.port}")
            ports = {"modern": modern.port, "forged": forged.port}
            urls = {}
            for name in PARTNERS:
                scheme = "https" if name in ports else "http"
                urls[name] = f"{scheme}://{name}.example:{ports.get(name, plain.port)}/{name}?c={{sub1}}"
            deliveries: dict[str, dict[str, object]] = {
                "modern": {"http2": True, "tls_min": "1.3"},
                "proxied": {"proxy": "env:PROXY_OF_OURS"},
                "bound": {"source_address": "127.0.0.9"},
            }
            with WaypostProcess(tmp_path / "house", catalog(urls, deliveries), settings) as waypost:
                receipts = {}
                for name in PARTNERS:
                    asked = {"click_id": waypost.click(name, sub1="x"), "goal": "install", "token": "s3cret"}
                    receipts[name] = str(fetch(waypost.port, "/postback", asked).json["receipt"])
                counted = "courier_attempts"
                until(lambda: waypost.snapshot("courier-0")["values"].get(counted, 0) >= len(PARTNERS), "all are tried")
                attempts = {name: of_event(waypost.trace(receipt), "attempt") for name, receipt in receipts.items()}
                values = waypost.snapshot("courier-0")["values"]
                kept = [file for file in waypost.data.rglob("*") if file.is_file()]
                assert [file for file in kept if b"s3cret-word" in file.read_bytes()] == []
    finally:
        for server in (names, modern, forged):
            server.close()
    codes = {name: attempt["code"] for name, (attempt,) in attempts.items()}
    assert codes == {
        "plain": "",
        "modern": "",
        "proxied": "",
        "bound": "",
        "forged": "tls_wrong_name",
        "inner": "address_forbidden",
        "gone": "dns_failed",
    }
    assert (modern.spoken, len(modern.requests), forged.requests) == (["h2"], 1, [])
    assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{plain.port} ".encode())
    heads = {data.split(b" ")[1].decode(): data for data in plain.requests}
    assert set(heads) == {"/plain?c=x", "/proxied?c=x", "/bound?c=x"}
    assert all(b" (+https://ours.example/)\r\n" in head for head in heads.values())
    assert "127.0.0.9" in plain.peers
    assert names.asked["plain.example"] == 1
    assert (values["courier_names_asked"], values["courier_names_failed"]) == (7, 1)
