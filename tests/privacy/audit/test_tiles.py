"""C2SP tiles, and publishing them in a folder."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.audit import publishing
from ugsd_privacy.audit.publishing import publish_tiles
from ugsd_privacy.errors import ExportFailed, LogTampered
from ugsd_privacy.files import file_lock
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.tlog.checkpoint import open_checkpoint
from ugsd_privacy.tlog.merkle import extend_frontier, leaf_hash
from ugsd_privacy.tlog.tiles import (
    Tile,
    bundle_bytes,
    check_tile,
    edge_tiles,
    entries,
    new_tiles,
    tile_hashes,
    width_in,
)

from tests.privacy.audit.grown_log import GrownLog, grown_log


@pytest.fixture
def log(tmp_path: Path, log_key: LogKey) -> Iterator[GrownLog]:
    with grown_log(tmp_path / "ledger", log_key) as log:
        yield log


def publish(log: GrownLog, note: str, folder: Path) -> int:
    with log.ledger.reading() as view:
        return publish_tiles(view, note, log.key.public, folder).files


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_paths_match_specification() -> None:
    assert Tile(0, 1234067, 256).path == "tile/0/x001/x234/067"
    assert Tile(0, 1234067, 256).entries_path == "tile/entries/x001/x234/067"
    assert Tile(2, 0, 1).path == "tile/2/000.p/1"
    assert Tile(1, 999, 17).path == "tile/1/999.p/17"
    assert Tile(1, 1000, 256).path == "tile/1/x001/000"
    assert Tile(0, 1_000_000, 3).entries_path == "tile/entries/x001/x000/000.p/3"


def test_tiles_match_specification() -> None:
    tiles = list(new_tiles(0, 70_000))
    assert [tile for tile in tiles if not tile.is_full] == [
        Tile(0, 273, 112),
        Tile(1, 1, 17),
        Tile(2, 0, 1),
    ]
    assert [sum(t.is_full and t.level == level for t in tiles) for level in (0, 1)] == [273, 1]
    assert list(new_tiles(0, 256)) == [Tile(0, 0, 256), Tile(1, 0, 1)]
    assert list(new_tiles(0, 0)) == []


@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_new_tiles_are_those_missing_from_smaller_tree(a: int, b: int) -> None:
    old, new = sorted((a, b))
    assert set(new_tiles(old, new)) == set(new_tiles(0, new)) - set(new_tiles(0, old))


@given(st.integers(0, 200_000))
def test_edge_tiles_are_partial_and_widths_match(size: int) -> None:
    tiles = list(new_tiles(0, size))
    assert list(edge_tiles(size)) == [tile for tile in tiles if not tile.is_full]
    assert all(width_in(size, tile.level, tile.index) == tile.width for tile in tiles)
    assert width_in(size, 0, size // 256 + 1) == 0


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bundle_round_trips_and_truncated_bundle_is_refused(contents: list[bytes]) -> None:
    bundle = bundle_bytes(contents)
    assert entries(bundle) == contents
    for cut in range(1, min(3, len(bundle))):
        with pytest.raises(LogTampered):
            entries(bundle[:-cut] if contents[-1] or cut == 1 else b"\0")


def test_too_long_entry_is_refused() -> None:
    assert entries(bundle_bytes([bytes(0xFFFF)])) == [bytes(0xFFFF)]
    with pytest.raises(LogTampered):
        bundle_bytes([bytes(0x1_0000)])


@pytest.mark.parametrize("width", [1, 2, 3, 7, 255, 256])
def test_changed_hash_in_tile_is_detected(width: int) -> None:
    nodes, frontier = {}, list[bytes]()
    for index in range(width):
        frontier, new = extend_frontier(frontier, index, leaf_hash(bytes([index])))
        nodes |= {(node.level, node.position): node.hash for node in new}
    tile = Tile(0, 0, width)
    hashes = tile_hashes(tile, lambda level, a, b: [nodes[level, at] for at in range(a, b)])

    def node(level: int, position: int) -> bytes:
        return nodes[level, position]

    check_tile(tile, hashes, node)
    for at in range(width):
        with pytest.raises(LogTampered):
            check_tile(tile, [*hashes[:at], bytes(32), *hashes[at + 1 :]], node)


def test_export_adds_files_and_keeps_full_tiles(log: GrownLog, tmp_path: Path) -> None:
    folder = tmp_path / "public"
    assert publish(log, log.grow(0), folder) == 0
    assert set(files(folder)) == {"checkpoint"}
    publish(log, log.grow(300), folder)
    full = folder / "tile/0/000"
    before = full.stat()
    assert "tile/0/001.p/44" in files(folder)
    assert publish(log, log.grow(513), folder) == 5
    assert set(files(folder)) == {
        "checkpoint",
        *(f"tile/{kind}/{n}" for kind in ("0", "entries") for n in ("000", "001", "002.p/1")),
        "tile/1/000.p/1",
        "tile/1/000.p/2",
    }
    assert (full.stat().st_ino, full.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert publish(log, log.grow(513), folder) == 0


def test_crash_keeps_old_log_and_next_export_completes(
    log: GrownLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, note = tmp_path / "public", log.grow(300)
    publish(log, note, folder)
    before = files(folder)
    newer, write = log.grow(600), publishing.write_atomically
    attempts = 0
    while True:
        written = 0

        def failing(path: Path, data: bytes) -> None:
            nonlocal written
            if written:
                raise ExportFailed("no space")
            written += 1
            write(path, data)

        monkeypatch.setattr(publishing, "write_atomically", failing)
        try:
            publish(log, newer, folder)
            break
        except ExportFailed:
            attempts += 1
            assert before.items() <= files(folder).items()
    monkeypatch.undo()
    assert attempts == 5
    fresh = tmp_path / "fresh"
    publish(log, newer, fresh)
    assert files(fresh).items() <= files(folder).items()


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("UPDATE leaves SET content = cast(content || x'00' AS blob) WHERE leaf = 7", 7),
        ("UPDATE nodes SET hash = zeroblob(32) WHERE level = 0 AND position = 7", 0),
        ("UPDATE nodes SET hash = zeroblob(32) WHERE level = 0 AND position = 257", 256),
    ],
)
def test_tampered_ledger_is_not_published(
    log: GrownLog, tmp_path: Path, statement: str, index: int
) -> None:
    note = log.grow(300)
    log.edit(statement)
    with pytest.raises(LogTampered) as found:
        publish(log, note, tmp_path / "public")
    assert found.value.index == index
    assert "checkpoint" not in files(tmp_path / "public")


def test_folder_of_another_or_longer_log_is_unchanged(log: GrownLog, tmp_path: Path) -> None:
    folder, note = tmp_path / "public", log.grow(300)
    publish(log, note, folder)
    before = files(folder)
    with (
        grown_log(tmp_path / "other", LogKey.generate(), 400) as other,
        pytest.raises(LogTampered, match="not from this log"),
    ):
        publish(other, other.grow(400), folder)
    with (
        grown_log(tmp_path / "fork", log.key, 400, name=b"fork") as fork,
        pytest.raises(LogTampered, match="not connect"),
    ):
        publish(fork, fork.grow(400), folder)
    with grown_log(tmp_path / "backup", log.key, 200) as backup:
        with pytest.raises(LogTampered, match="rolled back") as found:
            publish(backup, backup.grow(200), folder)
        assert found.value.index == 200
    with (
        grown_log(tmp_path / "backup", log.key) as backup,
        pytest.raises(LogTampered, match="does not match this ledger"),
    ):
        publish(backup, note, tmp_path / "new")
    assert files(folder) == before


def test_file_with_other_content_is_not_overwritten(log: GrownLog, tmp_path: Path) -> None:
    folder = tmp_path / "public"
    (folder / "tile/0").mkdir(parents=True)
    (folder / "tile/0/000").write_bytes(b"mine")
    with pytest.raises(LogTampered, match="other content"):
        publish(log, log.grow(256), folder)
    assert (folder / "tile/0/000").read_bytes() == b"mine"


def test_concurrent_exports_end_with_larger_log(
    log: GrownLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, write = tmp_path / "public", publishing.write_atomically
    older, errors, last = log.grow(11), [], threading.Event()
    publish(log, log.grow(11), tmp_path / "warm")

    def slow(path: Path, data: bytes) -> None:
        if path.name == "checkpoint" and threading.current_thread() is first:
            last.set()
            time.sleep(0.3)  # the other export would end meanwhile if it could start
        write(path, data)

    def export(note: str) -> None:
        try:
            publish(log, note, folder)
        except ExportFailed as error:
            errors.append(str(error))

    monkeypatch.setattr(publishing, "write_atomically", slow)
    first = threading.Thread(target=export, args=(older,))
    first.start()
    last.wait(10)
    newer = log.grow(12)
    second = threading.Thread(target=export, args=(newer,))
    second.start()
    for thread in (first, second):
        thread.join()
    published = open_checkpoint((folder / "checkpoint").read_text("utf-8"), log.key.public)
    assert (published.size, errors) == (12, [])
    export(older)
    assert "export again" in errors[0]
    assert (folder / "checkpoint").read_text("utf-8") == newer


def test_overtaken_export_without_locks_writes_no_checkpoint(
    log: GrownLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "fcntl", None)
    folder, write = tmp_path / "public", publishing.write_atomically
    older, newer = log.grow(11), log.grow(12)

    def overtaken(path: Path, data: bytes) -> None:
        monkeypatch.setattr(publishing, "write_atomically", write)
        publish(log, newer, folder)
        write(path, data)

    monkeypatch.setattr(publishing, "write_atomically", overtaken)
    with pytest.raises(ExportFailed, match="another export"):
        publish(log, older, folder)
    assert (folder / "checkpoint").read_text("utf-8") == newer


def test_every_export_checks_the_right_edge(log: GrownLog, tmp_path: Path) -> None:
    folder, note = tmp_path / "public", log.grow(300)
    publish(log, note, folder)
    for name in ("tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        for later in (note, log.grow(301)):
            with pytest.raises(LogTampered, match=f"{name} has other content"):
                publish(log, later, folder)
        (folder / name).unlink()
        assert publish(log, note, folder) == 1
        assert (folder / name).read_bytes() == whole


def test_folder_without_checkpoint_is_not_a_smaller_log(log: GrownLog, tmp_path: Path) -> None:
    folder, note = tmp_path / "public", log.grow(300)
    publish(log, note, folder)
    before = files(folder)
    (folder / "checkpoint").unlink()
    with grown_log(tmp_path / "backup", log.key, 290) as backup:
        with pytest.raises(LogTampered, match="290 leaves"):
            publish(backup, backup.grow(290), folder)
        assert "checkpoint" not in files(folder)
    assert publish(log, note, folder) == 0
    assert files(folder) == before


def test_pipe_or_link_in_folder_is_refused(log: GrownLog, tmp_path: Path) -> None:
    note, folder = log.grow(5), tmp_path / "tiles"
    publish(log, note, folder)
    tile = folder / "tile" / "0" / "000.p" / "5"
    tile.unlink()
    os.mkfifo(tile)
    with pytest.raises(LogTampered, match="is not a file"):
        publish(log, note, folder)
    tile.unlink()
    note = log.grow(6)
    elsewhere = tmp_path / "elsewhere"
    (folder / "tile" / "entries").rename(elsewhere)
    (folder / "tile" / "entries").symlink_to(elsewhere)
    before = files(elsewhere)
    with pytest.raises(LogTampered, match="is a link"):
        publish(log, note, folder)
    assert files(elsewhere) == before
    (folder / "checkpoint").unlink()
    os.mkfifo(folder / "checkpoint")
    with pytest.raises(LogTampered, match="is not from this log"):
        publish(log, note, folder)
