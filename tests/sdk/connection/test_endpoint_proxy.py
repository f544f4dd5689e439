"""Only a verifier on another machine is reached through the configured proxy."""

from __future__ import annotations

from pathlib import Path

import pytest
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_sdk.connection.endpoints import EmbeddedEndpoint, PinnedEndpoint, endpoint_of
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.home import Home
from ugsd_sdk.settings.config import EMBEDDED, VerifierSettings
from ugsd_sdk.transport.proxy import Proxy
from ugsd_sdk.transport.websocket import WebSocketTransport

from tests.sdk.connection.manifests import ROOT

PROXY = "http://proxy.example:3128"


def proxy_for(url: str, home: Path, proxy: str | None = PROXY) -> Proxy | None:
    settings = VerifierSettings(
        proxy=proxy, root=ROOT.public.pin.to_text(), manifest=home / "verifier.manifest"
    )
    endpoint = endpoint_of(url, settings, Home.from_path(home))
    assert isinstance(endpoint, PinnedEndpoint)
    transport = endpoint._transport()
    assert isinstance(transport, WebSocketTransport)
    return transport._proxy


@pytest.mark.parametrize("url", ["ws://captions.example", "wss://192.0.2.1:8765"])
def test_verifier_elsewhere_is_reached_through_the_proxy(url: str, tmp_path: Path) -> None:
    assert proxy_for(url, tmp_path) == Proxy("proxy.example", 3128)
    assert proxy_for(url, tmp_path, proxy=None) is None


@pytest.mark.parametrize("url", ["ws://127.0.0.1:8765", "ws://localhost:1", "ws://[::1]:1"])
def test_verifier_on_this_machine_is_reached_directly(url: str, tmp_path: Path) -> None:
    assert proxy_for(url, tmp_path) is None


def test_embedded_verifier_and_own_transport_use_no_proxy(tmp_path: Path) -> None:
    settings = VerifierSettings(proxy=PROXY, key=VerifierKey.generate().public.to_text())
    home = Home.from_path(tmp_path)
    assert isinstance(endpoint_of(EMBEDDED, settings, home), EmbeddedEndpoint)
    own = WebSocketTransport("ws://127.0.0.1:1")
    endpoint = endpoint_of(lambda: own, settings, home)
    assert isinstance(endpoint, PinnedEndpoint)
    assert endpoint._transport() is own


@pytest.mark.parametrize("proxy", ["socks5://proxy.example:1080", "http://ada:secret@p.example:1"])
def test_unusable_proxy_is_a_config_error(proxy: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"verifier\.proxy"):
        proxy_for("ws://captions.example", tmp_path, proxy=proxy)


@pytest.mark.parametrize("verifier", [EMBEDDED, "ws://127.0.0.1:8765"])
def test_unused_proxy_is_checked_too(verifier: str, tmp_path: Path) -> None:
    settings = VerifierSettings(proxy="foo", key=VerifierKey.generate().public.to_text())
    with pytest.raises(ConfigError, match=r"verifier\.proxy 'foo': give the address"):
        endpoint_of(verifier, settings, Home.from_path(tmp_path))
