"""A configured proxy opens a tunnel, and anything else that it answers is an error."""

from __future__ import annotations

import pytest
from ugsd_sdk.errors import ConfigError, VerifierUnreachable
from ugsd_sdk.transport.proxy import Proxy, Tunnel

PROXY = Proxy("proxy.example", 3128)


def tunnel() -> Tunnel:
    return Tunnel(PROXY, "verifier.example", 443)


def test_request_names_the_verifier_and_nothing_else() -> None:
    assert tunnel().request == (
        b"CONNECT verifier.example:443 HTTP/1.1\r\nHost: verifier.example:443\r\n\r\n"
    )
    assert Tunnel(PROXY, "::1", 8700).request.startswith(b"CONNECT [::1]:8700 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200\r\nVia: 1.1 proxy\r\nX: y\r\n\r\n",
        b"HTTP/1.1 204 \r\n\r\n",
    ],
)
def test_tunnel_opens_byte_by_byte(answer: bytes) -> None:
    asked = tunnel()
    opened = [asked.receive(bytes([byte])) for byte in answer]
    assert opened == [False] * (len(answer) - 1) + [True]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "answers with 407"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", "answers with 503"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "answers with 100"),
        (b"HTTP/1.1 200 OK\r\n\r\nand more", "answers with 200"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not answer as an HTTP proxy"),
        (b"HTTP/1.1 999 Odd\r\n\r\n", "not answer as an HTTP proxy"),
        (b"HTTP/2 200\r\n\r\n", "not answer as an HTTP proxy"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000, "answers with 200"),
        (b"", "not answer as an HTTP proxy"),
    ],
)
def test_other_answers_open_no_tunnel(answer: bytes, message: str) -> None:
    with pytest.raises(VerifierUnreachable, match=message) as raised:
        tunnel().receive(answer)
    assert "proxy.example:3128" in str(raised.value)


def test_end_within_the_answer_opens_no_tunnel() -> None:
    asked = tunnel()
    assert not asked.receive(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(VerifierUnreachable):
        asked.receive(b"")


def test_address_of_a_proxy_is_parsed() -> None:
    assert Proxy.from_url("http://Proxy.Example:3128/") == PROXY
    assert str(Proxy.from_url("http://[::1]:80")) == "[::1]:80"


@pytest.mark.parametrize(
    "url",
    ["https://p.example:1", "socks5://p.example:1", "p.example:1", "http://:1", "http://p.example",
     "http://p.example:0", "http://p.example:99999", "http://[::1:1", "http://p.example:1/path",
     "http://p.example:1?q", "http://p..example:1", ""],
)  # fmt: skip
def test_other_address_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError, match=r"verifier\.proxy"):
        Proxy.from_url(url)


@pytest.mark.parametrize("url", ["http://ada:secret@p.example:1", "socks5://ada:secret@p.example"])
def test_credentials_are_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Proxy.from_url(url)
    assert "secret" not in str(raised.value)
