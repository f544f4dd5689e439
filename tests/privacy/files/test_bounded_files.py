"""Foreign files and JSON are read within bounds; pipes and devices are refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from ugsd_privacy.bounded_json import check_json, read_json
from ugsd_privacy.errors import LogTampered, ReportRejected
from ugsd_privacy.files.atomic_files import read_bounded
from ugsd_privacy.files.bounded_files import open_regular, read_regular
from ugsd_privacy.reports.known_logs import KnownLogs


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "linked device", "nothing", "nul"])
def test_only_regular_files_are_opened(kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "linked device":
        path.symlink_to("/dev/zero")
    elif kind == "nul":
        path = tmp_path / "a\0b"
    for read in (lambda: open_regular(path), lambda: read_regular(path, 10)):
        with pytest.raises(OSError, match=r"\[Errno \d+\] \w+"):
            read()
    with pytest.raises(LogTampered, match="cannot read"):
        read_bounded(path, 10)


def test_links_are_followed_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_regular(tmp_path / "link", 3) == b"abc"
    with pytest.raises(OSError, match="is not a file"):
        read_regular(tmp_path / "link", 3, follow_links=False)


@given(st.integers(0, 40), st.integers(0, 40))
def test_size_limit_is_exact(
    tmp_path_factory: pytest.TempPathFactory, size: int, most: int
) -> None:
    path = tmp_path_factory.mktemp("bound") / "file"
    path.write_bytes(b"a" * size)
    if size <= most:
        assert len(read_regular(path, most)) == size
        return
    with pytest.raises(OSError, match=f"larger than {most} bytes"):
        read_regular(path, most)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_file_without_size_is_read_completely() -> None:
    assert b"VmHWM" in read_regular("/proc/self/status", 100_000)
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_regular("/proc/self/status", 10)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" + b"0," * 11 + b"0]", "more than 10 values"),
        (json.dumps({str(n): 0 for n in range(6)}).encode(), "more than 5 keys"),
        (json.dumps([{"a": {str(n): 0 for n in range(6)}}]).encode(), "more than 5 keys"),
        (b"[" * 40 + b"]" * 40, "nested more than 32"),
        (b"[" * 10**6, "recursion limit|EOF"),
        (b"{", "EOF"),
    ],
)
def test_json_beyond_bounds_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_json(data, max_items=10, max_keys=5)


def test_json_within_bounds_is_accepted() -> None:
    check_json(json.dumps({str(n): [0, 0] for n in range(5)}).encode(), max_items=10, max_keys=5)
    check_json(b"[" * 31 + b"]" * 31, max_items=0)
    check_json(b'"a,b,c"', max_items=2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "EOF"),
        (b"[1,2,3,4]", "more than 2 values"),
        (b"[1,true]", r"^1: Input should be a valid integer$"),
        (b'"secret"', r"^file: Input should be a valid array$"),
        ("\ud800", "surrogates not allowed"),
    ],
)
def test_json_with_other_content_is_refused(data: bytes | str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        read_json(list[int], data, max_items=2)
    assert not isinstance(refused.value, ValidationError)
    assert "secret" not in str(refused.value)


def test_matching_json_is_read() -> None:
    assert read_json(list[int], "[1,2]", max_items=2) == [1, 2]
    assert read_json(TypeAdapter(int | str), b"1", max_items=0) == 1


def test_known_logs_with_million_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    path.write_bytes(b"{" + b",".join(b'"%x":0' % n for n in range(10**6)) + b"}")
    with pytest.raises(ReportRejected, match="not a file of known logs"):
        KnownLogs.load(path)
