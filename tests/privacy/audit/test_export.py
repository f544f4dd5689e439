"""Exports verify without the ledger, and every change to the file is detected."""

from __future__ import annotations

import dataclasses
import io
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.audit import export
from ugsd_privacy.audit.bodies import StoredBodyChecker, plain_body
from ugsd_privacy.audit.export import ExportHeader, RunningTotals, export_log, read_item, seal_text
from ugsd_privacy.audit.offline import ExportSummary, verify_export
from ugsd_privacy.audit.records import RECORD_VERSION, Leaf
from ugsd_privacy.errors import ExportFailed, LogTampered
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.witness import WitnessKey, WitnessPublicKey
from ugsd_privacy.tlog.checkpoint import sign_checkpoint, sign_note
from ugsd_privacy.tlog.cosignature import cosign

from tests.privacy.audit.grown_log import FRAME_BYTES, TOKENS, GrownLog, grown_log
from tests.privacy.reports.report_world import send

LEAVES = 7
LARGE = 600


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, log_key: LogKey) -> Iterator[GrownLog]:
    with grown_log(tmp_path_factory.mktemp("log") / "ledger", log_key, LEAVES) as log:
        yield log


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, log_key: LogKey) -> Iterator[GrownLog]:
    with grown_log(tmp_path_factory.mktemp("large") / "ledger", log_key, LARGE) as log:
        yield log


def exported(log: GrownLog, note: str | None = None, *, bodies: bool = False, **given) -> bytes:
    file = io.BytesIO()
    note = note or log.grow(0)
    with log.ledger.reading() as view:
        export_log(view, note, log.key, file, bodies=bodies, **given)
    return file.getvalue()


def verified(data: bytes, log: GrownLog, **given) -> ExportSummary:
    return verify_export(io.BytesIO(data), log.key.public, **given)


def items(data: bytes) -> list[bytes]:
    """Split an export into its framed items."""
    file, found = io.BytesIO(data), []
    while framed := read_item(file)[0]:
        found.append(framed)
    return found


def framed(item: object) -> bytes:
    return cbor2.dumps(cbor2.dumps(item, canonical=True))


def resealed(parts: list[bytes], key: LogKey) -> bytes:
    """Seal items with the log's key, as its holder could."""
    import hashlib

    data = b"".join(parts)
    return data + framed(sign_note(seal_text(hashlib.sha256(data).digest()), key))


@pytest.mark.parametrize("bodies", [False, True])
def test_export_summary_matches_log(large: GrownLog, bodies: bool) -> None:
    data = exported(large, bodies=bodies)
    summary = verified(data, large)
    with large.ledger.reading() as view:
        assert summary.root == view.root(LARGE)
    assert (summary.size, summary.blocks, summary.tokens, summary.frame_bytes) == (
        LARGE, LARGE, LARGE * TOKENS, LARGE * FRAME_BYTES
    )  # fmt: skip
    assert (summary.hours, summary.checkpoints) == ((472_000, 472_005), 1)
    assert summary.bodies == (600 if bodies else None)
    assert (b"body 599" in data) == bodies
    assert data == exported(large, bodies=bodies), "exports are deterministic"


def test_empty_log_is_exported_and_verifies(tmp_path: Path, log_key: LogKey) -> None:
    with grown_log(tmp_path / "ledger", log_key) as log:
        summary = verified(exported(log), log)
    assert (summary.size, summary.hours, summary.tokens) == (0, (), 0)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 512])
def test_sizes_around_chunk_boundaries_verify(large: GrownLog, size: int) -> None:
    with large.ledger.reading() as view:
        root = view.root(size)
    note = sign_checkpoint(size, root, large.key)
    summary = verified(exported(large, note), large)
    assert (summary.size, summary.root) == (size, root)


@pytest.mark.parametrize("bodies", [False, True])
def test_every_flipped_bit_is_detected(log: GrownLog, bodies: bool) -> None:
    data = exported(log, bodies=bodies)
    first, chunk, *_ = items(data)
    named = set()
    for bit in range(8 * len(data)):
        at = bit // 8
        changed = data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]
        with pytest.raises(LogTampered) as found:
            verified(changed, log)
        if len(first) <= at < len(first) + len(chunk):
            assert found.value.index is not None
            named.add(found.value.index)
    assert named == set(range(LEAVES))


def test_every_truncation_is_detected(log: GrownLog) -> None:
    data = exported(log, bodies=True)
    for length in range(len(data)):
        with pytest.raises(LogTampered):
            verified(data[:length], log)
    with pytest.raises(LogTampered, match="data after its end"):
        verified(data + b"\0", log)


def test_deleted_repeated_or_moved_chunk_is_located(large: GrownLog) -> None:
    head, *chunks, sums, seal = items(exported(large))
    assert len(chunks) == 3
    for order, index in {
        (1, 2): 0, (0, 2): 256, (0, 1): 512, (1, 0, 2): 0, (0, 2, 1): 256, (0, 0, 2): 256,
        (0, 1, 2, 2): None,
    }.items():  # fmt: skip
        data = b"".join([head, *(chunks[at] for at in order), sums, seal])
        with pytest.raises(LogTampered) as found:
            verified(data, large)
        if index is not None:
            assert found.value.index == index


def rechunked(log: GrownLog, change) -> bytes:
    """Change the contents of a chunk, and repair everything that needs no key."""
    head, chunk, _, seal = items(exported(log))
    bundle, _, _ = cbor2.loads(cbor2.loads(chunk))
    contents = change(export_entries(bundle))
    sums = RunningTotals()
    for content in contents:
        sums.add(content)
    checks = b"".join(export.leaf_check(*numbered) for numbered in enumerate(contents))
    new = framed([export.bundle_bytes(contents), [], checks])
    return b"".join([head, new, framed(sums.counts), seal])


def export_entries(bundle: bytes) -> list[bytes]:
    from ugsd_privacy.tlog.tiles import entries

    return entries(bundle)


def test_consistently_changed_leaf_breaks_signature(
    log: GrownLog,
) -> None:
    cheaper = Leaf(bytes(32), FRAME_BYTES, 0, 0).to_bytes()
    for change in (
        lambda leaves: [*leaves[:3], cheaper, *leaves[4:]],
        lambda leaves: [*leaves[:3], leaves[4], leaves[3], *leaves[5:]],
    ):
        with pytest.raises(LogTampered, match="leaves 0 to 6 differ") as found:
            verified(rechunked(log, change), log)
        assert found.value.index == 0
    for change in (
        lambda leaves: leaves[:-1],
        lambda leaves: [*leaves, cheaper],
        lambda leaves: leaves[1:],
    ):
        with pytest.raises(LogTampered):
            verified(rechunked(log, change), log)


def test_earlier_checkpoint_narrows_down_first_wrong_leaf(
    large: GrownLog,
) -> None:
    with large.ledger.reading() as view:
        before = sign_checkpoint(400, view.root(400), large.key)
    good, forged = sign_checkpoint(LARGE, view_root(large), large.key), bytes(32)
    wrong = sign_checkpoint(LARGE, forged, large.key)
    assert verified(exported(large, good), large, trusted=[before]).checkpoints == 2
    with pytest.raises(LogTampered, match="leaves 400 to 599") as found:
        verified(exported(large, good), large, trusted=[before, wrong])
    assert found.value.index == 400


def view_root(log: GrownLog) -> bytes:
    with log.ledger.reading() as view:
        return view.root(view.size())


def test_trusted_checkpoint_detects_rollback_and_fork(log: GrownLog, tmp_path: Path) -> None:
    trusted_note = log.grow(0)
    with grown_log(tmp_path / "backup", log.key, 5) as backup:
        data = exported(backup)
        verified(data, backup)
        with pytest.raises(LogTampered, match="7 leaves were signed, but only 5") as found:
            verified(data, backup, trusted=[trusted_note])
        assert found.value.index == 5
        with pytest.raises(LogTampered, match="truncated"):
            exported(backup, earlier=[trusted_note])
    with grown_log(tmp_path / "fork", log.key, 9, name=b"fork") as fork:
        data = exported(fork)
        verified(data, fork)
        with pytest.raises(LogTampered, match="differ from what was signed"):
            verified(data, fork, trusted=[trusted_note])
        with pytest.raises(LogTampered, match="differ from what was signed"):
            exported(fork, earlier=[trusted_note])


def test_given_key_overrides_the_files_key(log: GrownLog) -> None:
    other = LogKey.generate()
    data = exported(log)
    assert verify_export(io.BytesIO(data)).public.to_text() == log.key.public.to_text()
    with pytest.raises(LogTampered, match=", not "):
        verify_export(io.BytesIO(data), other.public)


def test_signed_but_wrong_sums_and_sizes_are_refused(log: GrownLog) -> None:
    head, chunk, sums, _ = items(exported(log))
    assert verified(resealed([head, chunk, sums], log.key), log)
    with pytest.raises(LogTampered, match="add up to"):
        verified(resealed([head, chunk, framed([0, 0, 0])], log.key), log)
    fields = cbor2.loads(cbor2.loads(head))
    for change in (
        {"size": 6}, {"size": 8}, {"size": -1}, {"size": "7"}, {"size": 2**50}, {"bodies": True},
        {"bodies": 1}, {"hours": [1, 2, 3]}, {"hours": 5}, {"hours": [1]}, {"hours": [2, 1]},
        {"hours": [0, 2**39]}, {"checkpoints": []}, {"version": 2},
        {"format": "another"}, {"surplus": 1}, {"key": "x+00000000+AAAA"},
        {"key": fields["key"] + " "},
    ):  # fmt: skip
        with pytest.raises(LogTampered):
            verified(resealed([framed(fields | change), chunk, sums], log.key), log)
    for item in (None, 5, [], {}, "text", [b"", [], b"", b""], [b"", [b"x"], b""], [5, 5, 5]):
        with pytest.raises(LogTampered):
            verified(resealed([head, framed(item), sums], log.key), log)


def test_tampered_ledger_is_not_exported(tmp_path: Path, log_key: LogKey) -> None:
    with grown_log(tmp_path / "ledger", log_key, LEAVES) as log:
        note = log.grow(0)
        with log.ledger.reading() as view:
            ((content, _),) = view.leaves(3, 4)
        smaller = dataclasses.replace(Leaf.from_bytes(content), frame_bytes=1).to_bytes()
        log.edit(f"UPDATE leaves SET content = x'{smaller.hex()}' WHERE leaf = 3")
        with pytest.raises(LogTampered, match="leaf 3") as found:
            exported(log, note)
        assert found.value.index == 3, "without nodes, only a signed size could show more"


def test_plain_bodies_are_not_exported(world) -> None:
    egress = world.egress(user="ada@home")
    send(world, egress, world.connect(egress))
    egress.reset(["hour"])
    data = exported_of(world, egress.checkpoint())
    stored = b"".join(path.read_bytes() for path in world.ledger.path.parent.iterdir())
    assert b"ada@home" in stored, "the ledger stores it in plain"
    assert b"ada@home" not in data
    assert verify_export(io.BytesIO(data), world.log_key.public).bodies == 2


def test_erased_bodies_are_omitted_lost_ones_refused(world) -> None:
    egress = world.egress()
    for _ in range(2):
        send(world, egress, world.connect(egress))
    egress.erase(before_s=None)
    send(world, egress, world.connect(egress))
    note = egress.checkpoint()
    data = exported_of(world, note)
    assert verify_export(io.BytesIO(data), world.log_key.public).bodies == 2
    for stored, what in (
        ("x''", "body 5 is missing"), ("x'67617262616765'", "body 5 is neither sealed nor plain"),
        ("cast(x'00' || sealed AS blob)", "record 5"),
    ):  # fmt: skip
        with closing(sqlite3.connect(world.ledger.path)) as db:
            before = db.execute("SELECT sealed FROM leaves WHERE leaf = 5").fetchone()
            db.execute(f"UPDATE leaves SET sealed = {stored} WHERE leaf = 5")
            db.commit()
        with pytest.raises(LogTampered, match=what) as found:
            exported_of(world, note)
        assert found.value.index == 5
        with closing(sqlite3.connect(world.ledger.path)) as db:
            db.execute("UPDATE leaves SET sealed = ? WHERE leaf = 5", before)
            db.commit()
    assert exported_of(world, note) == data


def test_unsealed_body_is_detected(log: GrownLog) -> None:
    head, chunk, sums, _ = items(exported(log, bodies=True))
    bundle, bodies, checks = cbor2.loads(cbor2.loads(chunk))
    (leaf,) = [content for number, (content, _) in enumerate(leaves_of(log)) if number == 3]
    bodies[3] = b"\x00ada's"
    checks = checks[:12] + export.leaf_check(3, leaf, bodies[3]) + checks[16:]
    with pytest.raises(LogTampered, match="body 3 is not sealed") as found:
        verified(resealed([head, framed([bundle, bodies, checks]), sums], log.key), log)
    assert found.value.index == 3


def test_checkpoint_of_another_size_is_detected(log: GrownLog) -> None:
    head, chunk, sums, _ = items(exported(log))
    fields = cbor2.loads(cbor2.loads(head))
    with log.ledger.reading() as view:
        older = sign_checkpoint(3, view.root(3), log.key)
    for notes in ([*fields["checkpoints"], older], [older]):
        with pytest.raises(LogTampered, match="last checkpoint has another size"):
            verified(resealed([framed(fields | {"checkpoints": notes}), chunk, sums], log.key), log)


def test_checksums_without_leaves_are_detected(log: GrownLog) -> None:
    head, chunk, sums, _ = items(exported(log))
    bundle, bodies, checks = cbor2.loads(cbor2.loads(chunk))
    for more in (
        framed([bundle, bodies, checks + bytes(4)]),
        framed([bundle, bodies, checks[:-4]]),
    ):
        with pytest.raises(LogTampered):
            verified(resealed([head, more, sums], log.key), log)


def test_item_with_millions_of_parts_is_refused_early() -> None:
    for count, part in ((30_000_000, b"\x80"), (600, b"\x00"), (20_000_000, b"\xa0")):
        item = b"\x9a" + count.to_bytes(4, "big") + part * count
        start_s = time.process_time()
        with pytest.raises(LogTampered, match="more than"):
            verify_export(io.BytesIO(cbor2.dumps(item)))
        assert time.process_time() - start_s < 0.5, "it is only copied"


def test_self_referencing_item_is_refused() -> None:
    """Encoding it again would take time exponential in its depth."""
    doubled = b"".join(b"\xd8\x1c\x82\xd8\x1d%c\xd8\x1d%c" % (k, k) for k in range(20))
    item = b"\x95\xd8\x1c\x82\x00\x00" + doubled
    for data in (item, b"\xd8\x1c\x80", b"\xd8\x1d\x00"):
        with pytest.raises(LogTampered):
            verify_export(io.BytesIO(cbor2.dumps(data)))
        with pytest.raises(LogTampered):
            Leaf.from_bytes(data)


def exported_of(world, note: str) -> bytes:
    with world.ledger.reading() as view, io.BytesIO() as file:
        export_log(view, note, world.log_key, file, bodies=True)
        return file.getvalue()


def leaves_of(log: GrownLog) -> list[tuple[bytes, bytes]]:
    with log.ledger.reading() as view:
        return view.leaves(0, view.size())


def test_unreadable_bodies_or_checkpoints_are_not_exported(
    log: GrownLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_BODY_BYTES", 3)
    with pytest.raises(ExportFailed):
        exported(log, bodies=True)
    with log.ledger.reading() as view:
        notes = [
            sign_checkpoint(1, view.root(1), log.key) + "— a AAAAAAAA\n" * n for n in range(96)
        ]
    with pytest.raises(ExportFailed):
        exported(log, earlier=notes)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(LogTampered):
        verify_export(io.BytesIO(data))


@pytest.mark.parametrize(
    "data",
    [
        b"\x5b" + b"\xff" * 8,
        b"\x5a\xff\xff\xff\xff",
        b"\x5f\x41a\xff",
        b"\x58\x01\xa0",
        framed({}),
        cbor2.dumps(b"\x81" * 5000),
        cbor2.dumps(b"\xbf\xff"),
    ],
)
def test_long_nested_or_noncanonical_items_are_refused(data: bytes) -> None:
    with pytest.raises(LogTampered):
        verify_export(io.BytesIO(data))


@pytest.mark.parametrize("version", [1, RECORD_VERSION - 1, RECORD_VERSION + 1])
def test_leaf_of_another_version_names_it(version: int) -> None:
    content = cbor2.dumps([version, bytes(32), 300, [1, 5]], canonical=True)
    with pytest.raises(LogTampered, match=f"version {version}, .* use the release that wrote it"):
        Leaf.from_bytes(content)
    with pytest.raises(LogTampered, match=f"leaf 0: the leaf has version {version}") as refused:
        RunningTotals().add(content)
    assert refused.value.index == 0


def test_leaf_has_one_encoding() -> None:
    leaf = Leaf(bytes(32), 300, 1, 5)
    assert Leaf.from_bytes(leaf.to_bytes()) == leaf
    for content in (
        b"", leaf.to_bytes() + b"\0", cbor2.dumps([1, bytes(32), 300, [1, 5]]),
        Leaf(bytes(31), 300, 1, 5).to_bytes(), Leaf(bytes(32), -1, 1, 5).to_bytes(),
        Leaf(bytes(32), 300, 1.0, 5).to_bytes(), Leaf(bytes(32), 300, True, 5).to_bytes(),  # type: ignore[arg-type]
    ):  # fmt: skip
        with pytest.raises(LogTampered):
            Leaf.from_bytes(content)


def test_other_header_version_is_reported() -> None:
    with pytest.raises(LogTampered, match="version 9, but this release reads 1"):
        ExportHeader.of({"format": "ugsd log", "version": 9})


def test_erasure_of_huge_range_is_fast(world) -> None:
    egress = world.egress()
    world.connect(egress)
    egress.erase()
    record, salt = world.record(1), bytes(32)
    body = record.model_copy(update={"erased": ((0, 2**62),)}).to_bytes()
    content = Leaf.from_body(body, record.charge, salt).to_bytes()
    stored = StoredBodyChecker()
    stored.add(0, b"", b"")
    start_s = time.process_time()
    stored.add(1, content, plain_body(salt, body))
    stored.check_end()
    assert time.process_time() - start_s < 1


def test_latest_cosignature_of_witness_is_reported(log: GrownLog) -> None:
    key = WitnessKey.generate()
    with log.ledger.reading() as view:
        notes = [sign_checkpoint(size, view.root(size), log.key) for size in (2, 5)]
    notes = [
        note + cosign(note.partition("\n\n")[0] + "\n", key, 7 + i) for i, note in enumerate(notes)
    ]
    data = exported(log, earlier=notes)
    summary = verify_export(io.BytesIO(data), log.key.public, witnesses=[key.public])
    assert summary.witnessed == {key.public.name: (5, 8)}


def test_witness_is_identified_by_key_not_name(log: GrownLog) -> None:
    """A witness may change its key without changing its name."""

    def named() -> WitnessKey:
        key = WitnessKey.generate()
        key._public = WitnessPublicKey("witness.example/w1", key.public.raw)
        return key

    old, new = named(), named()
    with log.ledger.reading() as view:
        note = sign_checkpoint(5, view.root(5), log.key)
    text = note.partition("\n\n")[0] + "\n"
    notes = [note + cosign(text, old, 7), note + cosign(text, new, 8)]
    data = exported(log, earlier=notes)
    for key, at in ((old, 7), (new, 8)):
        found = verify_export(io.BytesIO(data), log.key.public, witnesses=[key.public])
        assert found.witnessed == {"witness.example/w1": (5, at)}
    with pytest.raises(LogTampered, match="cosigned none"):
        verify_export(io.BytesIO(data), log.key.public, witnesses=[named().public])
