"""Verification of a folder of tiles: every wrong file is reported."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from ugsd_privacy.audit.publishing import publish_tiles
from ugsd_privacy.audit.records import Leaf
from ugsd_privacy.audit.tiles_folder import TilesSummary, verify_tiles
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.keys.log import LogKey, LogPublicKey
from ugsd_privacy.keys.witness import WitnessKey
from ugsd_privacy.tlog.checkpoint import sign_checkpoint
from ugsd_privacy.tlog.cosignature import cosign
from ugsd_privacy.tlog.merkle import extend_frontier, frontier_root, leaf_hash
from ugsd_privacy.tlog.tiles import bundle_bytes, entries, new_tiles, tile_hashes

from tests.privacy.audit.grown_log import FRAME_BYTES, TOKENS, GrownLog, grown_log

SIZE = 300
FLIPS_OF_A_FILE = 40


@pytest.fixture
def log(tmp_path: Path, log_key: LogKey) -> Iterator[GrownLog]:
    with grown_log(tmp_path / "ledger", log_key) as log:
        yield log


@pytest.fixture
def folder(log: GrownLog, tmp_path: Path) -> Path:
    """A folder of 300 leaves that had 200 and 260 leaves before."""
    for size in (200, 260, SIZE):
        published(log, size, tmp_path / "public")
    return tmp_path / "public"


@pytest.fixture
def public(log_key: LogKey) -> LogPublicKey:
    return log_key.public


def published(log: GrownLog, size: int, folder: Path) -> str:
    note = log.grow(size)
    with log.ledger.reading() as view:
        publish_tiles(view, note, log.key.public, folder)
    return note


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def refused(folder: Path, public: LogPublicKey) -> LogTampered:
    with pytest.raises(LogTampered) as found:
        verify_tiles(folder, public)
    return found.value


def test_folder_verifies_at_every_size(log: GrownLog, tmp_path: Path, public: LogPublicKey) -> None:
    folder = tmp_path / "public"
    for size in (0, 1, 2, 255, 256, 257, 300, 512, 600):
        note = published(log, size, folder)
        with log.ledger.reading() as view:
            root = view.root(size)
        for key in (public, None):
            assert verify_tiles(folder, key) == TilesSummary(
                public=key,
                origin=public.origin,
                size=size,
                root=root,
                blocks=size,
                tokens=size * TOKENS,
                frame_bytes=size * FRAME_BYTES,
                checkpoints=1,
                witnessed={},
                checkpoint=note,
            )


def wrong_leaf(name: str, data: bytes, byte: int) -> int:
    """Return the leaf to which a byte of a file belongs."""
    first = 256 * ("/001" in name)
    if name.startswith("tile/1"):
        return 256 * (byte // 32)
    if name.startswith("tile/0"):
        return first + byte // 32
    ends, at = [], 0
    for content in entries(data):
        at += 2 + len(content)
        ends.append(at)
    return first + next(index for index, end in enumerate(ends) if byte < end)


def test_flipped_bit_is_reported_with_file_and_leaf(folder: Path, public: LogPublicKey) -> None:
    assert names(folder) == [
        "checkpoint",
        *("tile/0/000", "tile/0/001.p/4", "tile/0/001.p/44", "tile/1/000.p/1"),
        *("tile/entries/000", "tile/entries/001.p/4", "tile/entries/001.p/44"),
    ]
    for name in names(folder):
        path, data = folder / name, (folder / name).read_bytes()
        bits = 8 * len(data)
        for bit in range(0, bits, max(1, bits // FLIPS_OF_A_FILE)):
            changed = data[bit // 8] ^ 1 << bit % 8
            path.write_bytes(data[: bit // 8] + bytes([changed]) + data[bit // 8 + 1 :])
            error = refused(folder, public)
            assert f"{path}" in str(error), bit
            if name != "checkpoint" and not name.endswith(".p/4"):
                assert f"{path}:" in str(error), bit
                assert error.index == wrong_leaf(name, data, bit // 8), (name, bit)
        path.write_bytes(data)
    assert verify_tiles(folder, public).size == SIZE


def test_truncated_extended_or_missing_file_is_reported(folder: Path, public: LogPublicKey) -> None:
    for name in names(folder):
        path, data = folder / name, (folder / name).read_bytes()
        for other in (b"", data[:-1], data[:32], data + b"\0", data + data):
            if other != data:
                path.write_bytes(other)
                assert str(path) in str(refused(folder, public)), name
        path.unlink()
        if name.endswith(".p/4"):
            assert verify_tiles(folder, public).size == SIZE, "the file belongs to a smaller tree"
        else:
            assert str(path) in str(refused(folder, public)), name
        path.write_bytes(data)
    assert verify_tiles(folder, public).size == SIZE


def test_swapped_files_are_reported(log: GrownLog, tmp_path: Path, public: LogPublicKey) -> None:
    folder = tmp_path / "public"
    published(log, 512, folder)
    for kind, first in (("0", "000"), ("entries", "000")):
        one, two = folder / f"tile/{kind}/{first}", folder / f"tile/{kind}/001"
        whole = one.read_bytes(), two.read_bytes()
        one.write_bytes(whole[1])
        two.write_bytes(whole[0])
        error = refused(folder, public)
        assert (f"{one}:" in str(error), error.index) == (True, 0)
        one.write_bytes(whole[0])
        two.write_bytes(whole[1])


def test_changed_leaf_with_matching_tiles_is_detected(folder: Path, public: LogPublicKey) -> None:
    forged = [Leaf(bytes(32), FRAME_BYTES, 1, TOKENS).to_bytes()]
    for place, leaves in (("000", 256), ("001.p/44", 44)):
        bundle, tile = folder / f"tile/entries/{place}", folder / f"tile/0/{place}"
        whole = bundle.read_bytes(), tile.read_bytes()
        contents = forged + entries(whole[0])[1:]
        assert len(contents) == leaves
        bundle.write_bytes(bundle_bytes(contents))
        tile.write_bytes(leaf_hash(forged[0]) + whole[1][32:])
        assert refused(folder, public).index == 0
        bundle.write_bytes(whole[0])
        tile.write_bytes(whole[1])
    assert verify_tiles(folder, public).size == SIZE


def test_two_wrong_files_are_both_reported(folder: Path, public: LogPublicKey) -> None:
    for name in ("tile/0/000", "tile/1/000.p/1"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
    message = str(refused(folder, public))
    assert "tile/0/000" in message
    assert "tile/entries/000 differ" in message


@pytest.mark.parametrize(
    "name",
    [
        *("tile/0/001", "tile/0/001.p/45", "tile/0/002.p/1", "tile/1/000", "tile/1/000.p/2"),
        *("tile/2/000.p/1", "tile/entries/001.p/45", "tile/0/x000/000", "tile/0/000.p/256"),
        *("tile/0/000.p/0", "tile/0/000.p/01", "tile/0/1", "tile/8/000", "tile/00/000"),
        *("tile/data/000", "tile/README", "tile/entries/000~", "tile/0/000.p/x", "tile/0/0/0"),
        *("tile/0/000.q/1", "tile/\x1b[31m", "tile/0/٠٠٠"),
    ],
)
def test_file_outside_the_log_is_reported(folder: Path, public: LogPublicKey, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"")
    message = str(refused(folder, public))
    assert any(repr(str(part))[1:-1] in message for part in (Path(name), Path(name).parent))
    assert message.isprintable()


def test_links_pipes_and_endless_files_are_refused(
    folder: Path, public: LogPublicKey, tmp_path: Path
) -> None:
    for name in ("checkpoint", "tile/0/000", "tile/entries/000", "tile/1/000.p/1"):
        path, aside = folder / name, tmp_path / "aside"
        path.rename(aside)
        for make in (
            lambda path=path: path.symlink_to(tmp_path / "aside"),
            lambda path=path: path.symlink_to("/dev/zero"),
            lambda path=path: os.mkfifo(path),
            lambda path=path: path.mkdir(),
            lambda path=path: path.write_bytes(b"") or os.truncate(path, 2**40),
        ):
            make()
            assert name in str(refused(folder, public))
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        aside.rename(path)
    for name in ("tile/0", "tile"):
        (folder / name).rename(tmp_path / "aside")
        (folder / name).symlink_to(tmp_path / "aside")
        assert name in str(refused(folder, public))
        (folder / name).unlink()
        (tmp_path / "aside").rename(folder / name)
    assert verify_tiles(folder, public).size == SIZE


def test_other_server_files_and_old_drafts_are_ignored(folder: Path, public: LogPublicKey) -> None:
    (folder / "index.html").write_text("hello")
    (folder / "tile/0/.002.0123456789abcdef").write_bytes(b"half")
    assert verify_tiles(folder, public).size == SIZE


def test_missing_folder_or_wrong_checkpoint_size_is_refused(
    folder: Path, public: LogPublicKey, log_key: LogKey, tmp_path: Path
) -> None:
    assert "nothing/checkpoint" in str(refused(tmp_path / "nothing", public))
    assert "did not sign" in str(refused(folder, LogKey.generate().public))
    for size in (301, 600, 2**40, 2**63 - 1):
        (folder / "checkpoint").write_text(sign_checkpoint(size, bytes(32), log_key), "utf-8")
        assert "tile/" in str(refused(folder, public))
    for size in (0, 299):
        (folder / "checkpoint").write_text(sign_checkpoint(size, bytes(32), log_key), "utf-8")
        assert f"not part of a log of {size} leaves" in str(refused(folder, public))


def test_log_not_extending_trusted_checkpoint_is_refused(
    log: GrownLog, folder: Path, public: LogPublicKey, tmp_path: Path
) -> None:
    with grown_log(tmp_path / "other", log.key, 100, name=b"fork") as fork:
        forked = fork.grow(100)
    longer = log.grow(301)
    with pytest.raises(LogTampered) as found:
        verify_tiles(folder, public, trusted=[forked])
    assert found.value.index == 0
    for key in (public, None):
        with pytest.raises(LogTampered, match="truncated: 301") as found:
            verify_tiles(folder, key, trusted=[longer])
        assert found.value.index == SIZE
    with pytest.raises(LogTampered):
        verify_tiles(folder, None, trusted=[sign_checkpoint(3, bytes(32), LogKey.generate())])
    published(log, 301, folder)
    assert verify_tiles(folder, public, trusted=[longer, longer]).checkpoints == 1


def test_each_witness_must_have_cosigned(folder: Path, public: LogPublicKey, log: GrownLog) -> None:
    key, time_s = WitnessKey.generate(), 1_700_000_000
    note = (folder / "checkpoint").read_text("utf-8")
    line = cosign(note.partition("\n\n")[0] + "\n", key, time_s)
    with pytest.raises(LogTampered, match="cosigned none"):
        verify_tiles(folder, public, witnesses=[key.public])
    (folder / "checkpoint").write_text(note + line, "utf-8")
    found = verify_tiles(folder, public, witnesses=[key.public]).witnessed
    assert found == {key.public.name: (SIZE, time_s)}
    (folder / "checkpoint").write_text(note + line.replace("AAA", "AAB", 1), "utf-8")
    with pytest.raises(LogTampered):
        verify_tiles(folder, public, witnesses=[key.public])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LogKey]:
    """A folder with a full tile of tiles and some more leaves."""
    folder, key, size = tmp_path_factory.mktemp("large"), LogKey.generate(), 65_536 + 257
    contents = [Leaf(sha256(b"%d" % i).digest(), 1, 1, 1).to_bytes() for i in range(size)]
    nodes: dict[tuple[int, int], bytes] = {}
    frontier: list[bytes] = []
    for index, content in enumerate(contents):
        frontier, new = extend_frontier(frontier, index, leaf_hash(content))
        nodes |= {(node.level, node.position): node.hash for node in new}
    files = {"checkpoint": sign_checkpoint(size, frontier_root(frontier), key).encode()}
    for tile in new_tiles(0, size):
        hashes = tile_hashes(tile, lambda level, a, b: [nodes[level, at] for at in range(a, b)])
        files[tile.path] = b"".join(hashes)
        if tile.level == 0:
            files[tile.entries_path] = bundle_bytes(contents[tile.start : tile.start + tile.width])
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder, key


def test_large_log_reports_wrong_hash_of_any_level(
    large: tuple[Path, LogKey],
) -> None:
    folder, key = large
    tracemalloc.start()
    try:
        assert verify_tiles(folder, key.public).size == 65_536 + 257
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    for name, byte, leaf in [
        ("tile/1/000", 32 * 7, 256 * 7),
        ("tile/2/000.p/1", 0, 0),
        ("tile/1/001.p/1", 5, 65_536),
        ("tile/0/257.p/1", 5, 65_792),
        ("tile/0/255", 32 * 9, 65_280 + 9),
    ]:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:byte] + bytes([data[byte] ^ 1]) + data[byte + 1 :])
        error = refused(folder, key.public)
        assert (f"{folder / name}:" in str(error), error.index) == (True, leaf)
        (folder / name).write_bytes(data)
