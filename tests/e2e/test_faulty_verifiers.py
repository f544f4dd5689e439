"""With any faulty verifier, a caption is made within its deadline and gives the reason."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.errors import PrivacyError
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.decoding.policy import AlwaysEscalate
from ugsd_sdk.errors import TransportError, VerifierUnreachable
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.transport.websocket import WebSocketTransport

from tests.doubles.faults import FAULTS, WITHOUT_CONNECTION
from tests.doubles.faulty_link import ConnectProxy
from tests.doubles.faulty_verifier import Fault, FaultyVerifier, SparseDrafter
from tests.doubles.reasons import why_of
from tests.doubles.tls import certify

Voice = NDArray[np.float32]
DEADLINE_S = 0.3
AMPLE_DEADLINE_S = 5.0
"""The deadline for faults that end the wait themselves, on a busy machine as well."""
NOISE_S = 1.5
"""Time that a busy machine may add to a caption."""
CLOSE_S = 3.0
TRIALS = [
    *((fault, False) for fault in FAULTS if not fault.only_tls),
    *((fault, True) for fault in FAULTS if fault.tls or fault.only_tls),
]


@pytest.fixture(scope="session")
def key() -> VerifierKey:
    return VerifierKey.generate()


@pytest.fixture(scope="session")
def sparse() -> SparseDrafter:
    return SparseDrafter(seed=3, vocabulary_size=400)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    return certify(folder / "certificate.pem", folder / "key.pem")


@pytest.fixture
def run_faulty(
    key: VerifierKey,
    sparse: SparseDrafter,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., tuple[FaultyVerifier, str]]]:
    """Start a faulty verifier; return it and its address."""
    with ExitStack() as stack:

        def run(
            fault: Fault, *, secure: bool = False, files: tuple[Path, Path] = certificate
        ) -> tuple[FaultyVerifier, str]:
            context = None
            if secure:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*files)
                monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
            faulty = FaultyVerifier(fault.behave, key, sparse, tls=context)
            stack.enter_context(faulty)
            return faulty, f"{'wss' if secure else 'ws'}://127.0.0.1:{faulty.port}"

        yield run


@pytest.fixture
def new_captioner(
    key: VerifierKey, sparse: SparseDrafter, tmp_path: Path
) -> Callable[..., Captioner]:
    def new(url: str, deadline_s: float = DEADLINE_S) -> Captioner:
        waits = VerifierSettings(
            deadline_s=deadline_s, caption_deadline_s=deadline_s, connect_timeout_s=5
        )
        return Captioner(
            sparse,
            verifier=url,
            verifier_key=key.public.to_text(),
            home=tmp_path / "home",
            policy=AlwaysEscalate(),
            config=Settings(verifier=waits),
        )

    return new


@pytest.fixture
def drafter_text(sparse: SparseDrafter, voice: Voice) -> str:
    with Captioner(sparse) as captioner:
        return captioner.caption(voice, 16_000).text


def deadline_of(fault: Fault) -> float:
    """Return a short deadline, in seconds, if the fault makes the device wait until it is over."""
    waits = fault.reason == "deadline" or not fault.connects
    return DEADLINE_S if waits else AMPLE_DEADLINE_S


def assert_caption(
    captioner: Captioner,
    voice: Voice,
    drafter_text: str,
    fault: Fault,
    deadline_s: float = DEADLINE_S,
) -> None:
    """Caption, and compare the caption with the table."""
    started_s = time.monotonic()
    caption = captioner.caption(voice, 16_000)
    elapsed_s = time.monotonic() - started_s
    assert why_of(caption.unverified_reason) == fault.reason
    assert caption.text == drafter_text
    assert elapsed_s < 1.1 * deadline_s + NOISE_S
    sources = [token.source for token in caption.tokens]
    verified, drafted = fault.verified, len(sources) - fault.verified
    assert sources == [TokenSource.VERIFIED] * verified + [TokenSource.DRAFTED] * drafted
    assert all(token.disclosed for token in caption.tokens[: fault.sent])
    assert any(token.disclosed for token in caption.tokens) == (fault.sent > 0)
    assert len(caption.receipts) == caption.usage.num_frames
    assert caption.usage.num_disclosed_tokens >= fault.sent


def assert_works(captioner: Captioner, voice: Voice, drafter_text: str) -> None:
    """Reconnect after the fault, and have a caption verified."""
    for _ in range(10):
        with suppress(TransportError, PrivacyError):
            captioner.wait_until_connected(5)
            break
    for _ in range(10):  # a busy machine may miss a short deadline
        caption = captioner.caption(voice, 16_000)
        assert caption.text == drafter_text
        if caption.unverified_reason is None:
            return
    pytest.fail(f"not verified after the fault: {caption.unverified_reason}")


def assert_closes(captioner: Captioner) -> None:
    started_s = time.monotonic()
    captioner.close()
    assert time.monotonic() - started_s < CLOSE_S


@pytest.mark.parametrize(
    ("fault", "secure"), TRIALS, ids=lambda x: x.name if isinstance(x, Fault) else "tls" * x
)
def test_faulty_verifier_costs_only_the_deadline(
    run_faulty: Any,
    new_captioner: Callable[..., Captioner],
    voice: Voice,
    drafter_text: str,
    fault: Fault,
    secure: bool,
) -> None:
    faulty, url = run_faulty(fault, secure=secure)
    deadline_s = deadline_of(fault)
    captioner = new_captioner(url, deadline_s)
    if fault.connects:
        with suppress(TransportError, PrivacyError):
            captioner.wait_until_connected(5)
    assert_caption(captioner, voice, drafter_text, fault, deadline_s)
    faulty.heal()
    assert_works(captioner, voice, drafter_text)
    assert_closes(captioner)


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.tls and fault.sent], ids=lambda fault: fault.name
)
@pytest.mark.parametrize("secure", [False, True], ids=["", "tls"])
def test_faulty_verifier_does_not_block_closing(
    run_faulty: Any, new_captioner: Any, voice: Voice, drafter_text: str, fault: Fault, secure: bool
) -> None:
    _, url = run_faulty(fault, secure=secure)
    deadline_s = deadline_of(fault)
    captioner = new_captioner(url, deadline_s)
    captioner.wait_until_connected(5)
    assert_caption(captioner, voice, drafter_text, fault, deadline_s)
    assert_closes(captioner)


def test_refused_connection_costs_nothing(
    new_captioner: Any, voice: Voice, drafter_text: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        captioner = new_captioner(f"ws://127.0.0.1:{free.getsockname()[1]}")
    with suppress(TransportError):
        captioner.wait_until_connected(5)
    assert_caption(captioner, voice, drafter_text, WITHOUT_CONNECTION)
    assert_closes(captioner)


def test_tls_passes_through_a_tunnel_unread(
    run_faulty: Any, new_captioner: Any, voice: Voice
) -> None:
    faulty, url = run_faulty(WITHOUT_CONNECTION, secure=True)
    with ConnectProxy(("127.0.0.1", faulty.port)) as proxy:
        tunnelled = lambda: WebSocketTransport(url, proxy=proxy.url)  # noqa: E731
        with new_captioner(tunnelled, AMPLE_DEADLINE_S) as captioner:
            captioner.wait_until_connected(5)
            assert captioner.caption(voice, 16_000).unverified_reason is None
    assert proxy.tunnelled[:1] == b"\x16", "a TLS handshake"
    assert b"websocket" not in proxy.tunnelled


@pytest.mark.parametrize(
    "flaw", [{"ends_h": -1}, {"address": "127.0.0.2"}], ids=["expired", "of another address"]
)
def test_invalid_certificate_is_refused(
    run_faulty: Any, new_captioner: Any, voice: Voice, tmp_path: Path, flaw: dict[str, Any]
) -> None:
    files = certify(tmp_path / "certificate.pem", tmp_path / "key.pem", **flaw)
    _, url = run_faulty(WITHOUT_CONNECTION, secure=True, files=files)
    with new_captioner(url) as captioner:
        with pytest.raises(VerifierUnreachable, match="not trusted"):
            captioner.wait_until_connected(5)
        assert why_of(captioner.caption(voice, 16_000).unverified_reason) == "tls_failed"


def test_silent_name_server_costs_only_the_deadline(
    new_captioner: Any, voice: Voice, drafter_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(20) and [])
    captioner = new_captioner("ws://localhost:1")
    slow = replace(WITHOUT_CONNECTION, connects=False)
    assert_caption(captioner, voice, drafter_text, slow)
    started_s = time.monotonic()
    with pytest.raises(VerifierUnreachable):
        captioner.wait_until_connected(0.2)
    assert time.monotonic() - started_s < 0.2 + NOISE_S
    assert_closes(captioner)
    answered.set()
