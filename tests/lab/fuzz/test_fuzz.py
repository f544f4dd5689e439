"""The fuzzer gives only typed errors in bounded memory and time, and it can fail."""

from __future__ import annotations

import json
from random import Random

import pytest
from ugsd_lab.cli import main
from ugsd_lab.fuzz.mutations import _bomb
from ugsd_lab.fuzz.run import fuzz
from ugsd_lab.fuzz.targets import TARGETS, Case, Target
from ugsd_privacy.audit.receipts import Receipt
from ugsd_privacy.audit.records import decode_record
from ugsd_privacy.errors import LogTampered, PrivacyError
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.tlog.checkpoint import open_checkpoint, sign_checkpoint


def test_thousands_of_hostile_inputs_give_no_finding() -> None:
    result = fuzz(frames=4_000, seed=1)
    assert not result.findings
    assert result.frames == 4_000
    for target in TARGETS:
        outcomes = result.outcomes[target.name]
        assert len(outcomes) > 1, f"{target.name}: some are refused and some pass: {outcomes}"


def test_same_seed_makes_the_same_messages() -> None:
    decoder = next(t for t in TARGETS if t.name == "wire.decode_device_message")
    one, other = Random(5), Random(5)
    assert [decoder.case(one).data for _ in range(300)] == [
        decoder.case(other).data for _ in range(300)
    ]


@pytest.mark.parametrize("target", [t for t in TARGETS if t.name.startswith(("wire", "audit.rec"))])
@pytest.mark.parametrize("head", [0x5B, 0x7B, 0x9B, 0xBB])
@pytest.mark.parametrize("count", [2**40, 2**64 - 1])
def test_huge_item_count_allocates_at_most_one_chunk(
    monkeypatch: pytest.MonkeyPatch, target: Target, head: int, count: int
) -> None:
    from ugsd_lab.fuzz import targets

    data = bytes([0xA1, 0x61, 0x61, head]) + count.to_bytes(8, "big")
    monkeypatch.setattr(targets, "_written", lambda rng, fields: data)
    result = fuzz(frames=2, targets=[target])
    assert not result.findings
    assert result.peak_bytes[target.name] < 72 * 1024


def test_self_doubling_record_is_refused_at_once() -> None:
    """Hashing such a key took two to the power of its depth."""
    for doublings in (1, 20, 200):
        with pytest.raises(LogTampered):
            decode_record(_bomb(doublings))


def test_note_with_a_lone_surrogate_is_refused() -> None:
    key = LogKey.generate()
    with pytest.raises(LogTampered, match="UTF-8"):
        open_checkpoint("\ud800" + sign_checkpoint(1, bytes(32), key), key.public)


def test_invalid_receipt_raises_the_packages_own_error() -> None:
    for text in ("", "{}", "[" * 9000, b"\xff", '{"index": 1e400}'):
        with pytest.raises(LogTampered, match="not a receipt"):
            Receipt.from_json(text)


def _target(read: object) -> Target:
    return Target("planted", lambda rng: Case(b"\xde\xad", read))  # type: ignore[arg-type]


def _key_error() -> str:
    raise KeyError("planted")


def _spin() -> str:
    from time import thread_time

    ends_s = thread_time() + 1.1
    while thread_time() < ends_s:
        pass
    return "read"


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (_key_error, "untyped: KeyError"),
        (_spin, "hang"),
        (lambda: str(len(bytearray(10**6))), "memory"),
    ],
)
def test_planted_fault_is_found(read: object, fault: str) -> None:
    (finding,) = fuzz(frames=1, targets=[_target(read)]).findings
    assert finding.fault.startswith(fault)
    assert finding.data == b"\xde\xad"


def test_failing_decoder_is_found_with_its_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A decoder that raises KeyError for a block without tokens."""
    from ugsd_privacy.protocol import messages as wire

    real = wire._parsed

    def forgetful(fields, data, schema):  # type: ignore[no-untyped-def]
        try:
            return real(fields, data, schema)
        except PrivacyError:
            fields["tokens"]
            raise

    monkeypatch.setattr(wire, "_parsed", forgetful)
    assert main(["fuzz", "--frames", "600", "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert any(f["fault"] == "untyped: KeyError" for f in printed["findings"])
    assert all(bytes.fromhex(f["data"]) for f in printed["findings"])


def test_command_prints_a_table_and_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", "--frames", "40", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "VerifierSession.receive" in out
    assert "40 inputs, seed 3" in out
