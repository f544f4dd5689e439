"""A device, a recording proxy and the real server, and assertions about what the device sends."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.audit.bodies import BodyReader
from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.protocol.channel import FRAME_BYTES, HELLO_BYTES

from tests.doubles.recording_proxy import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    PROXY_PING,
    Conversation,
    RecordingProxy,
    look_up,
)

__all__ = ["CLIP", "USER", "World", "assert_every_byte_is_logged", "waveforms"]

Voice = NDArray[np.float32]
DEVICE = Path(__file__).with_name("watched_device.py")
USER = "ada-canary-lovelace"
CLIP = "canary-of-a-file-name.wav"
UPGRADE_BYTES = 139
"""Size of the upgrade request without its host, as in docs/wire.md."""


@dataclass
class World:
    """A home, a clip, and a proxy in front of the real server."""

    home: Path
    clip: Path
    key: str
    proxy: RecordingProxy
    messages: list[bytes] = field(default_factory=list)
    """What the server read inside the frames."""
    clips: Sequence[Path] = ()
    """Captioned in turn instead of ``clip``."""
    url: str = ""
    """Where the device connects; by default to the proxy."""
    certificate: Path | None = None
    """The certificate that the device trusts with TLS."""
    _devices: subprocess.Popen[str] | None = None

    def run(
        self,
        *,
        captions: int,
        kill: int | None = None,
        shape: str = "padded",
        doubtful: Sequence[int | None] = (0,),
        drafter: str | None = None,
    ) -> dict[str, Any] | None:
        """Run a device and return its report, or ``None`` if it was killed as planned."""
        task = {
            "url": self.url or self.proxy.url,
            "key": self.key,
            "home": str(self.home),
            "user": USER,
            "clips": list(map(str, self.clips or [self.clip])),
            "captions": captions,
            "kill": kill,
            "shape": shape,
            "doubtful": list(doubtful),
            "drafter": drafter,
        }
        devices = self._started()
        assert devices.stdin is not None
        assert devices.stdout is not None
        devices.stdin.write(json.dumps(task) + "\n")
        devices.stdin.flush()
        report: dict[str, Any] | None = json.loads(devices.stdout.readline())
        assert report != "failed", "see the standard error above"
        assert not list(self._aside().iterdir()), "something was written outside home"
        assert (report is None) == (kill is not None)
        return report

    def moved_to(self, home: Path) -> None:
        """Let the next device use another home."""
        self.home = home

    def look_up(self, payload: bytes) -> EgressRecord | None:
        """Return the record of a frame in the current home's log."""
        return look_up(self.home / "ledger/ledger.sqlite3", payload)

    def verified_records(self) -> list[EgressRecord]:
        """Verify the log and return all records; none if a device died before it had a log."""
        if not (self.home / "owner.pub").exists():
            return []
        with Ledger(self.home / "ledger") as ledger, ledger.reading() as view:
            owner = OwnerKey.load(self.home / "owner.key")
            verify_log(ledger, LogKey.load(self.home / "log.key").public, owner=owner)
            reader = BodyReader(view, owner)
            return [r for r in map(reader.record, view.rows()) if isinstance(r, EgressRecord)]

    def close(self) -> None:
        if self._devices is not None:
            self._devices.communicate()

    def _aside(self) -> Path:
        aside = self.clip.parent / "aside"
        aside.mkdir(exist_ok=True)
        return aside

    def _started(self) -> subprocess.Popen[str]:
        if self._devices is None:
            aside = self._aside()
            places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(aside))
            if self.certificate is not None:
                places["SSL_CERT_FILE"] = str(self.certificate)
            self._devices = subprocess.Popen(
                [sys.executable, "-W", "error", "-B", str(DEVICE)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=aside,
                env={**os.environ, **places, "OPENBLAS_NUM_THREADS": "1"},
            )
        return self._devices


def assert_every_byte_is_logged(
    conversation: Conversation, port: int, *, cut: bool = False
) -> None:
    """Assert that every byte is part of the constant request, of a logged frame, or of a control
    frame.

    If the device died during a write, the last bytes are the beginning of one of these.
    """
    if not conversation.request:
        assert cut or not conversation.raw
        assert b"GET / HTTP/1.1\r\n".startswith(bytes(conversation.raw[:16]))
        return
    lines = conversation.request.decode("ascii").split("\r\n")
    key = re.fullmatch("Sec-WebSocket-Key: ([A-Za-z0-9+/]{22}==)", lines[4])
    assert key is not None
    assert len(base64.b64decode(key[1])) == 16
    assert lines == [
        "GET / HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        key[0],
        "Sec-WebSocket-Version: 13",
        "",
        "",
    ]
    assert len(conversation.request) == UPGRADE_BYTES + len(f"127.0.0.1:{port}")
    assert cut or not conversation.unread
    assert all(frame.masked for frame in conversation.frames)
    whole = {0x80 | opcode for opcode in (BINARY, CLOSE, PING, PONG)}
    assert {frame.head for frame in conversation.frames} <= whole, "text, or a part"
    application = conversation.of(BINARY)
    unlogged = [len(frame.payload) for frame in application if frame.record is None]
    assert unlogged == [], "bytes were sent that had not been logged"
    sizes = [len(frame.payload) for frame in application]
    assert sizes[:1] in ([], [HELLO_BYTES])
    assert set(sizes[1:]) <= set(FRAME_BYTES)
    assert {frame.payload for frame in conversation.of(PONG)} <= {PROXY_PING}
    pings = [frame.payload for frame in conversation.of(PING)]
    assert pings == [number.to_bytes(4, "big") for number in range(len(pings))]
    assert [frame.payload for frame in conversation.of(CLOSE)] in ([], [(1000).to_bytes(2, "big")])


def waveforms(voice: Voice) -> Iterator[bytes]:
    """Yield chunks of a waveform, in the forms in which it might be sent."""
    audible = np.flatnonzero(np.abs(voice) > 0.01)
    forms = [(voice * 32_767).astype(np.int16), voice, voice.astype(np.float64)]
    for start in audible[:: len(audible) // 200]:
        for form in forms:
            yield form[start : start + 4].tobytes()
