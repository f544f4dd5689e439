"""Transports send only frames that the egress sealed."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.egress import Egress, SealedFrame
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.protocol.channel import ClientChannel
from ugsd_sdk.errors import ConfigError, VerifierTimeout, VerifierUnreachable
from ugsd_sdk.transport import Transport
from ugsd_sdk.transport.memory import MemoryTransport
from ugsd_sdk.transport.websocket import WebSocketTransport

from tests.doubles.reasons import why_of

MAKERS: list[Callable[[], Transport]] = [
    lambda: MemoryTransport(lambda data: data),
    lambda: WebSocketTransport("ws://127.0.0.1:1"),
]


@pytest.fixture
def frame(tmp_path: Path, verifier_key: VerifierKey) -> SealedFrame:
    with Ledger(tmp_path / "ledger") as ledger:
        egress = Egress(
            ledger=ledger,
            owner=OwnerKey.generate().public,
            limits=BudgetLimits(),
        )
        return egress.seal_hello(ClientChannel(verifier_key.public))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("impostor", [b"bytes", "text", None, object()])
def test_only_sealed_frames_are_sent(make: Callable[[], Transport], impostor: object) -> None:
    with pytest.raises(TypeError, match="egress"):
        make().send(impostor)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", MAKERS)
def test_object_resembling_sealed_frame_is_refused(make: Callable[[], Transport]) -> None:
    class Likeness:
        data = b"raw audio"

    with pytest.raises(TypeError):
        make().send(Likeness())  # type: ignore[arg-type]


@pytest.mark.parametrize("make", MAKERS)
def test_unconnected_transport_is_unreachable_and_closes(
    make: Callable[[], Transport], frame: SealedFrame
) -> None:
    transport = make()
    with pytest.raises(VerifierUnreachable):
        transport.send(frame)
    with pytest.raises(VerifierUnreachable):
        transport.receive(0)
    transport.close()
    transport.close()


def test_memory_transport_answers_in_order(frame: SealedFrame) -> None:
    answers = iter([b"one", None, b"two"])
    transport = MemoryTransport(lambda data: next(answers))
    transport.connect(1)
    transport.send(frame)
    assert transport.receive(0) == b"one"
    transport.send(frame)
    with pytest.raises(VerifierTimeout):
        transport.receive(0)
    transport.send(frame)
    assert transport.receive(0) == b"two"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "example.org:80",
        "ws://",
        "",
        "wss://example.org:99999",
        "wss://example.org:port",
        "ws://[::1",
        "wss://user:password@example.org",
        "wss://example.org/?clip=1",
        "wss://example.org/#a",
    ],
)
def test_invalid_address_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError):
        WebSocketTransport(url)


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1", "ws://no-such-host.invalid"])
def test_missing_server_is_unreachable(url: str) -> None:
    with pytest.raises(VerifierUnreachable, match="check its address"):
        WebSocketTransport(url).connect(2)


@pytest.fixture
def answering() -> Iterator[Callable[[ssl.SSLContext | None], str]]:
    """A function that starts a server for one connection, with or without TLS, and returns its wss
    address."""
    with ExitStack() as stack:

        def serve(context: ssl.SSLContext | None) -> str:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def answer() -> None:
                peer, _ = server.accept()
                with peer, suppress(OSError), ExitStack() as secured:
                    stream = peer
                    if context is not None:
                        stream = secured.enter_context(context.wrap_socket(peer, server_side=True))
                    stream.recv(4096)
                    stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            thread = Thread(target=answer)
            thread.start()
            stack.callback(thread.join)
            return f"wss://127.0.0.1:{server.getsockname()[1]}"

        yield serve


def test_server_without_tls_is_reported(answering: Callable[..., str]) -> None:
    with pytest.raises(VerifierUnreachable, match=r"TLS with 127.* failed") as raised:
        WebSocketTransport(answering(None)).connect(5)
    assert why_of(raised.value.reason) == "tls_failed"


def test_untrusted_certificate_is_reported(answering: Callable[..., str], tmp_path: Path) -> None:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    unsigned = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(1))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem += unsigned.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    (tmp_path / "server.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with pytest.raises(VerifierUnreachable, match=r"certificate of 127.* is not trusted") as raised:
        WebSocketTransport(answering(context)).connect(5)
    assert why_of(raised.value.reason) == "tls_failed"
