"""Hostile bytes at every reader, both ways; and that the command would tell of one that falls."""

from __future__ import annotations

import json

import pytest
from ugsd_lab.cli import main
from ugsd_lab.fuzz import Findings, Target, fuzz, targets
from ugsd_privacy.errors import WireError
from ugsd_privacy.wire import decode_device_message
from ugsd_server.settings import STARTER_FOLDER
from ugsd_server.verifier.engine import Verifier
from ugsd_server.verifier.onnx import OnnxScorer

FRAMES = 11_000
"""A thousand for each reader."""
SEALED = {"hello", "answer", "frame to the verifier", "frame to the device"}
"""Readers that authenticate: whatever was damaged is refused."""


@pytest.fixture(scope="module")
def every() -> list[Target]:
    verifier = Verifier(OnnxScorer(STARTER_FOLDER))
    verifier.load()
    return targets(verifier)


def quiet(*_: object) -> None: ...


@pytest.mark.slow
def test_eleven_thousand_hostile_inputs_get_typed_errors_in_bounded_time_and_memory(
    every: list[Target],
) -> None:
    found = fuzz(FRAMES, 5, every, quiet)
    assert found.findings == []
    assert found.frames == FRAMES
    assert {target for target, _ in found.outcomes} == {target.name for target in every}
    refused = {"Close", "HandshakeFailed", "FrameRejected"}
    for (target, outcome), count in found.outcomes.items():
        assert target not in SEALED or outcome in refused, (target, outcome)
        assert count
    for target, error in [("device's message", "WireError"), ("record", "LogTampered")]:
        assert found.outcomes[target, error] > 500


def run(feed: object, frames: int = 300) -> Findings:
    good = next(t for t in targets_without_verifier() if t.name == "device's message")
    bad = Target("planted", feed, good.examples)  # type: ignore[arg-type]
    return fuzz(frames, 1, [bad], quiet)


def targets_without_verifier() -> list[Target]:
    from ugsd_lab.fuzz import _device_messages

    return [Target("device's message", decode_device_message, _device_messages())]


def test_a_reader_that_falls_is_found_with_the_bytes_that_felled_it() -> None:
    def falls(data: bytes) -> None:
        if b"\x9f" in data:
            raise KeyError("kind")
        raise WireError("no")

    found = run(falls)
    assert found.findings
    assert all(b"\x9f" in each.data for each in found.findings)
    assert found.findings[0].fault == "raised KeyError: 'kind'"


def test_a_reader_that_takes_memory_or_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    hoard: list[bytes] = []
    found = run(lambda data: hoard.append(bytes(10**7)))
    assert found.findings[0].fault.endswith("bytes")
    monkeypatch.setattr("ugsd_lab.fuzz.HANG_S", -1.0)
    assert run(lambda data: None).findings[0].fault.endswith(" s")


def test_the_command_tells_what_it_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["fuzz", "--frames", "220", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["frames"], told["findings"]) == (220, [])
    monkeypatch.setattr("ugsd_lab.fuzz.HANG_S", -1.0)
    assert main(["fuzz", "--frames", "20"]) == 1
    assert "10 findings" in capsys.readouterr().out
