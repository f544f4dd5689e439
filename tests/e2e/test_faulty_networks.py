"""With any faulty network, the real captioner and verifier make a caption within its deadline."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ugsd_sdk
from ugsd_lab.bench.emulated_link import LinkConditions
from ugsd_privacy.audit.bodies import BodyReader
from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.errors import PrivacyError
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.ledger import Ledger
from ugsd_sdk.caption import Caption
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.connection import circuit as circuit_module
from ugsd_sdk.connection import verifier_connection as link_module
from ugsd_sdk.connection.circuit import FAILURES_TO_OPEN, Circuit
from ugsd_sdk.connection.link_state import LinkState
from ugsd_sdk.decoding.policy import AlwaysEscalate
from ugsd_sdk.errors import TransportError
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.transport import connection as connection_module
from ugsd_sdk.transport import happy_eyeballs, heartbeat
from ugsd_sdk.transport.websocket import WebSocketTransport

from tests.doubles.faulty_link import BlackHole, ConnectProxy, FaultyLink
from tests.doubles.loopback import Running
from tests.doubles.reasons import why_of

CLIP = Path(ugsd_sdk.__file__).parent / "starter" / "clips" / "16a01Ec.opus"
DEADLINE_S = 1.0
PAID_MS = 600 * DEADLINE_S
"""A caption that waited longer has paid a deadline, from which sealing and logging take some."""
SHARE = 1.1
"""Of its deadline, a caption may wait so much."""
UNREACHABLE, MISBEHAVED, DEADLINE = "verifier_unreachable", "verifier_misbehaved", "deadline"
CIRCUIT = "circuit_open"
FEW = FAILURES_TO_OPEN
HANDSHAKE_BYTES = 2600
"""More than a device sends for its handshake, and less than with a question in addition."""
BETWEEN = {"round_trip_s": 0.05}

pytestmark = pytest.mark.skipif(
    not CLIP.exists(), reason="the starter's files are not in this checkout"
)


@pytest.fixture
def server(run_server: Any) -> Running:
    running: Running = run_server(starter=True)
    return running


def address_of(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("ws://").split(":")
    return host, int(port)


@pytest.fixture
def link(server: Running) -> Iterator[FaultyLink]:
    with FaultyLink(address_of(server.url), LinkConditions(**BETWEEN)) as link:
        yield link


class Device:
    """The real captioner with the starter drafter, which asks about every clip."""

    def __init__(self, key: str, home: Path) -> None:
        self._key = key
        self._home = home
        self.captions: list[Caption] = []

    def open(self, verifier: Any, *, connect_timeout_s: float = 5.0) -> Captioner:
        waits = VerifierSettings(
            deadline_s=DEADLINE_S,
            caption_deadline_s=DEADLINE_S,
            connect_timeout_s=connect_timeout_s,
        )
        self.captioner = Captioner(
            verifier=verifier,
            verifier_key=self._key,
            home=self._home,
            policy=AlwaysEscalate(),
            config=Settings(verifier=waits, min_enrolment=0),
        )
        return self.captioner

    def connect(self) -> None:
        with suppress(TransportError, PrivacyError):
            self.captioner.wait_until_connected(20)

    def caption(self) -> Caption:
        """Caption the clip; assert that the wait is within the deadline and all that was sent has a
        receipt."""
        caption = self.captioner.caption(CLIP)
        self.captions.append(caption)
        assert caption.latency_ms.wait <= 1000 * DEADLINE_S * SHARE
        assert caption.text
        assert len(caption.receipts) == caption.usage.num_frames
        return caption

    def why(self) -> str | None:
        return why_of(self.caption().unverified_reason)

    def assert_verifies(self) -> None:
        """Connect, and assert that a caption is verified soon; a busy machine misses deadlines."""
        for _ in range(10):
            self.connect()
            if self.why() is None:
                return
        pytest.fail("no caption is verified")

    def assert_log_agrees(self) -> None:
        """Assert that the log verifies and holds each frame of the captions, charged once."""
        self.captioner.close()
        if not (self._home / "ledger").exists():
            assert not any(caption.receipts for caption in self.captions)
            return
        with Ledger(self._home / "ledger") as ledger, ledger.reading() as view:
            owner = OwnerKey.load(self._home / "owner.key")
            verify_log(ledger, LogKey.load(self._home / "log.key").public, owner=owner)
            reader = BodyReader(view, owner)
            rows = [(row, reader.record(row)) for row in view.rows()]
        records = [(row, record) for row, record in rows if isinstance(record, EgressRecord)]
        blocks = [record for _, record in records if record.kind == "block"]
        assert len(blocks) == sum(caption.usage.num_frames for caption in self.captions)
        assert all(row.bytes == record.frame_bytes for row, record in records)


@pytest.fixture
def device(server: Running, tmp_path: Path) -> Iterator[Device]:
    device = Device(server.public_key, tmp_path / "home")
    yield device
    device.assert_log_agrees()


@dataclass(frozen=True)
class NetworkFault:
    """What happens to a network, and why the caption is then unverified."""

    name: str
    begin: Callable[[FaultyLink], None]
    reasons: tuple[str | None, ...]
    """Any of them; ``None`` stands for a verified caption."""
    waits: bool = True
    """Whether the caption may wait to its deadline."""


def become(**conditions: float) -> Callable[[FaultyLink], None]:
    return lambda link: setattr(link, "conditions", LinkConditions(**conditions))


FAULTS = [
    NetworkFault("is slow", become(round_trip_s=4), (DEADLINE,)),
    NetworkFault("answers at 99 % of the deadline", become(round_trip_s=0.99), (None, DEADLINE)),
    NetworkFault("jitters", become(round_trip_s=0.1, jitter_s=0.4), (None, DEADLINE)),
    NetworkFault("loses every third segment", become(loss=0.33), (None, DEADLINE)),
    NetworkFault("loses nearly every segment", become(loss=0.97), (DEADLINE,)),
    NetworkFault("is narrow", become(bytes_per_s=60), (DEADLINE,)),
    NetworkFault("stalls", FaultyLink.stall, (DEADLINE,)),
    NetworkFault("is half-open", FaultyLink.half_open, (DEADLINE,)),
    NetworkFault("resets", lambda link: link.reset_after(0), (UNREACHABLE,), waits=False),
    NetworkFault(
        "breaks off within the answer", lambda link: link.reset_after(40), (UNREACHABLE,), False
    ),
    NetworkFault("corrupts the answer", FaultyLink.corrupt, (MISBEHAVED,), waits=False),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_after_connecting_costs_at_most_the_deadline(
    device: Device, link: FaultyLink, fault: NetworkFault
) -> None:
    device.open(link.url)
    device.assert_verifies()
    fault.begin(link)
    caption = device.caption()
    assert why_of(caption.unverified_reason) in fault.reasons
    assert fault.waits or caption.latency_ms.wait < PAID_MS
    assert caption.usage.num_frames == 1
    link.heal()
    device.assert_verifies()


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.waits], ids=lambda fault: fault.name
)
def test_fault_while_connecting_costs_at_most_the_deadline(
    device: Device, link: FaultyLink, fault: NetworkFault
) -> None:
    fault.begin(link)
    device.open(link.url)
    first, second = device.caption(), device.caption()
    if None not in fault.reasons:
        assert why_of(first.unverified_reason) == UNREACHABLE
        assert first.usage.num_frames == 0, "nothing is charged without a session"
        assert second.latency_ms.wait < 200, "only one caption waits for an attempt"
    link.heal()
    device.assert_verifies()


def test_offline_verifier_costs_nothing(device: Device) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{free.getsockname()[1]}"
    device.open(url)
    device.connect()
    for _ in range(4):
        caption = device.caption()
        assert why_of(caption.unverified_reason) in {UNREACHABLE, CIRCUIT}
        assert caption.latency_ms.wait < PAID_MS
        assert caption.usage.num_frames == 0


def test_flapping_network_costs_few_captions_their_deadline(
    device: Device, link: FaultyLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Circuit.__init__.__kwdefaults__, "first_back_off_s", 0.05)
    device.open(link.url)
    device.connect()
    link.flap(up_s=0.4, down_s=0.3)
    waits = []
    for _ in range(12):
        caption = device.caption()
        assert why_of(caption.unverified_reason) in {None, UNREACHABLE, CIRCUIT}
        waits.append(caption.latency_ms.wait)
        time.sleep(0.1)
    assert sum(wait > PAID_MS for wait in waits) <= FEW
    link.heal()
    device.assert_verifies()


@pytest.mark.parametrize("failures_to_open", [FEW, 100], ids=["", "without"])
def test_silent_verifier_costs_few_captions_their_deadline(
    device: Device, link: FaultyLink, monkeypatch: pytest.MonkeyPatch, failures_to_open: int
) -> None:
    """A verifier that connects and never answers: without the circuit breaker, each new session
    costs another caption its deadline."""
    monkeypatch.setattr(circuit_module, "FAILURES_TO_OPEN", failures_to_open)
    monkeypatch.setattr(link_module, "_LATE_ANSWER_TIMEOUT_S", 0.0)
    link.swallow_after(HANDSHAKE_BYTES)
    device.open(link.url)
    device.connect()
    connection = device.captioner._pipeline().links.first
    assert connection is not None
    reasons = []
    for _ in range(24):
        caption = device.caption()
        reasons.append(why_of(caption.unverified_reason))
        if connection.state is LinkState.BACKING_OFF:
            connection._circuit.retry_at_s = 0.0
        if reasons.count(DEADLINE) > 2 * FEW or reasons[-2:] == [CIRCUIT] * 2:
            break
    asked = sum(caption.usage.num_frames for caption in device.captions)
    assert (asked <= FEW) == (failures_to_open == FEW)
    assert (reasons[-1] == CIRCUIT) == (failures_to_open == FEW)


def addresses(monkeypatch: pytest.MonkeyPatch, *found: tuple[str, int]) -> str:
    """Let a name have these addresses; return a verifier's address with the name."""
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
    return "ws://localhost:8700"


@pytest.mark.parametrize("delay_s", [happy_eyeballs.ATTEMPT_DELAY_S, 1000.0], ids=["", "without"])
def test_black_holed_address_costs_no_deadline(
    device: Device, link: FaultyLink, monkeypatch: pytest.MonkeyPatch, delay_s: float
) -> None:
    """With attempts that overlap, the caption is verified; without, no answer comes."""
    monkeypatch.setattr(happy_eyeballs, "ATTEMPT_DELAY_S", delay_s)
    with BlackHole() as hole:
        url = addresses(monkeypatch, hole.address, ("127.0.0.1", link.port))
        device.open(url)
        caption = device.caption()
        overlap = delay_s < 1
        assert why_of(caption.unverified_reason) == (None if overlap else UNREACHABLE)
        assert overlap or caption.latency_ms.wait > PAID_MS
        device.captioner.close()


def test_proxy_only_network_reaches_the_verifier(device: Device, link: FaultyLink) -> None:
    with ConnectProxy(("127.0.0.1", link.port)) as proxy:
        name = "ws://verifier.invalid:8700"
        device.open(lambda: WebSocketTransport(name, proxy=proxy.url))
        device.connect()
        caption = device.caption()
        device.captioner.close()
    assert caption.unverified_reason is None
    (request,) = proxy.requests
    assert (
        request == b"CONNECT verifier.invalid:8700 HTTP/1.1\r\nHost: verifier.invalid:8700\r\n\r\n"
    )
    assert proxy.tunnelled.startswith(b"GET / HTTP/1.1\r\nHost: verifier.invalid:8700\r\n")


def test_proxy_of_the_environment_is_not_used(
    device: Device, link: FaultyLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(("127.0.0.1", link.port)) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        device.open(lambda: WebSocketTransport(link.url))
        device.assert_verifies()
        device.captioner.close()
    assert not proxy.requests


@pytest.mark.parametrize("answer", [b"HTTP/1.1 403 Forbidden", b"220 mail.example"])
def test_proxy_that_refuses_costs_nothing(device: Device, link: FaultyLink, answer: bytes) -> None:
    with ConnectProxy(("127.0.0.1", link.port), answer=answer) as proxy:
        name = "ws://verifier.invalid:8700"
        captioner = device.open(lambda: WebSocketTransport(name, proxy=proxy.url))
        with pytest.raises(TransportError, match=f"proxy 127.0.0.1:{proxy.port} opens no tunnel"):
            captioner.wait_until_connected(10)
        caption = device.caption()
        device.captioner.close()
    assert why_of(caption.unverified_reason) == UNREACHABLE
    assert caption.latency_ms.wait < PAID_MS
    assert not proxy.tunnelled


@pytest.fixture
def quick_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("PING_INTERVAL_S", 0.3), ("_LEAST_LATE_S", 0.6), ("LOST_AFTER_S", 30.0)):
        monkeypatch.setattr(heartbeat, name, seconds)


@pytest.mark.usefixtures("quick_pings")
@pytest.mark.parametrize("pings", [True, False], ids=["", "without"])
def test_half_open_connection_is_found_before_the_charge(
    device: Device, link: FaultyLink, monkeypatch: pytest.MonkeyPatch, pings: bool
) -> None:
    if not pings:
        monkeypatch.setattr(heartbeat.Heartbeat, "ping", lambda self, now_s: None)
        monkeypatch.setattr(heartbeat.Heartbeat, "is_lost", lambda self, now_s: False)
    device.open(link.url)
    device.assert_verifies()
    link.half_open()
    time.sleep(1.5)
    caption = device.caption()
    assert why_of(caption.unverified_reason) == (UNREACHABLE if pings else DEADLINE)
    assert caption.usage.num_frames == (0 if pings else 1)
    assert (caption.latency_ms.wait < PAID_MS) == pings


@pytest.mark.usefixtures("quick_pings")
def test_lost_connection_is_replaced_when_pings_end(
    device: Device, link: FaultyLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "LOST_AFTER_S", 0.8)
    device.open(link.url)
    device.connect()
    link.half_open()
    time.sleep(2.0)
    link.restore()
    device.caption()
    assert link.connections == 2, "the caption got a new connection"
    device.assert_verifies()


def test_sleep_is_noticed_before_the_charge(
    device: Device, link: FaultyLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verifier goes while the machine sleeps; on waking, the first question is not sent into
    the dead connection."""
    asleep_s, real = 0.0, connection_module.uptime_s
    monkeypatch.setattr(connection_module, "uptime_s", lambda: real() + asleep_s)
    device.open(link.url)
    device.assert_verifies()
    link.half_open()
    asleep_s = 3600.0
    link.restore()
    device.caption()
    assert link.connections == 2, "the caption got a new connection"
    device.assert_verifies()


def test_pings_measure_the_round_trip(device: Device, link: FaultyLink) -> None:
    device.open(link.url)
    device.connect()
    connection = device.captioner._pipeline().links.first
    assert connection is not None
    ends_s = time.monotonic() + 10
    while connection.round_trip is None and time.monotonic() < ends_s:
        time.sleep(0.02)
    assert connection.round_trip is not None
    assert BETWEEN["round_trip_s"] <= connection.round_trip.expected_s < 2.0
