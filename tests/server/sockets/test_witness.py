"""The witness over HTTP, with well-behaved and hostile clients, and its command."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.witness import WitnessPublicKey, open_witness
from ugsd_privacy.tlog.checkpoint import open_checkpoint, sign_checkpoint
from ugsd_privacy.tlog.cosignature import verify_cosignature
from ugsd_privacy.tlog.merkle import leaf_hash
from ugsd_privacy.tlog.witness import MAX_REQUEST_BYTES, AddCheckpoint, Witness
from ugsd_server import witness as witness_server
from ugsd_server.cli import main
from ugsd_server.errors import ListenFailed, ServerError
from ugsd_server.witness import MAX_CONNECTIONS, WitnessServer

LEAVES = [leaf_hash(b"a"), leaf_hash(b"b")]


@pytest.fixture(scope="module")
def log_key() -> LogKey:
    return LogKey.generate()


@pytest.fixture
def server(tmp_path: Path, log_key: LogKey) -> Iterator[WitnessServer]:
    key, state = open_witness(tmp_path / "w")
    with WitnessServer(Witness(key, [log_key.public], state), request_s=0.5) as server:
        yield server


def request_for(log_key: LogKey, old: int = 0, leaf: int = 0) -> bytes:
    return AddCheckpoint(old, (), sign_checkpoint(1, LEAVES[leaf], log_key)).to_bytes()


def send(
    server: WitnessServer, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=5)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def test_checkpoint_is_cosigned_and_latest_is_served(
    server: WitnessServer, log_key: LogKey, tmp_path: Path
) -> None:
    key, _ = open_witness(tmp_path / "w")
    place = f"/{hashlib.sha256(log_key.public.origin.encode()).hexdigest()}/checkpoint"
    assert send(server, "GET", place)[0] == 404
    status, _, body = send(server, "POST", "/add-checkpoint", request_for(log_key))
    assert status == 200
    note = sign_checkpoint(1, LEAVES[0], log_key) + body.decode()
    assert time.time() - verify_cosignature(note, key.public) < 60
    status, kind, served = send(server, "GET", place)
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    assert open_checkpoint(served.decode(), log_key.public).size == 1
    assert verify_cosignature(served.decode(), key.public)


def test_refusals_have_specified_status_and_content_type(
    server: WitnessServer, log_key: LogKey
) -> None:
    send(server, "POST", "/add-checkpoint", request_for(log_key))
    again = send(server, "POST", "/add-checkpoint", request_for(log_key))
    assert again == (409, "text/x.tlog.size", b"1\n")
    other = send(server, "POST", "/add-checkpoint", request_for(log_key, 1, leaf=1))
    assert other[:2] == (409, "text/plain; charset=utf-8"), "another root of the same size"
    two = AddCheckpoint(1, (), sign_checkpoint(2, LEAVES[1], log_key)).to_bytes()
    assert send(server, "POST", "/add-checkpoint", two)[0] == 422
    assert send(server, "POST", "/add-checkpoint", request_for(LogKey.generate()))[0] == 404
    assert send(server, "POST", "/add-checkpoint", b"nonsense")[0] == 400
    for method, path in (("GET", "/"), ("POST", "/"), ("GET", "/../x/checkpoint")):
        assert send(server, method, path, b"" if method == "POST" else None)[0] == 404
    assert send(server, "PUT", "/add-checkpoint", b"")[0] == 501


def test_request_too_long_or_without_length_is_refused(server: WitnessServer) -> None:
    long = {"Content-Length": str(MAX_REQUEST_BYTES + 1)}
    assert send(server, "POST", "/add-checkpoint", b"", **long)[0] == 413
    for length in ("-1", "1e3", "9" * 30, "x"):
        bad = {"Content-Length": length}
        assert send(server, "POST", "/add-checkpoint", b"", **bad)[0] == 411


def raw(server: WitnessServer) -> socket.socket:
    place = urlsplit(server.url)
    assert place.hostname is not None
    return socket.create_connection((place.hostname, place.port or 0), timeout=5)


def test_slow_or_silent_client_is_cut_off(server: WitnessServer, log_key: LogKey) -> None:
    with raw(server) as slow, raw(server) as silent:
        begun = time.monotonic()
        slow.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 500\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(100):
                slow.sendall(b"x")
                time.sleep(0.05)
        assert silent.recv(1) == b""
        assert time.monotonic() - begun < 4
    assert send(server, "POST", "/add-checkpoint", request_for(log_key))[0] == 200


def test_connections_beyond_limit_close_until_others_end(
    server: WitnessServer, log_key: LogKey
) -> None:
    connections = [raw(server) for _ in range(MAX_CONNECTIONS)]
    time.sleep(0.1)
    with raw(server) as surplus:
        assert surplus.recv(1) == b""
    for connection in connections:
        connection.close()
    ends = time.monotonic() + 5
    while True:
        try:
            assert send(server, "POST", "/add-checkpoint", request_for(log_key))[0] == 200
            break
        except OSError:
            assert time.monotonic() < ends
            time.sleep(0.05)


def test_garbage_does_not_stop_the_witness(server: WitnessServer, log_key: LogKey) -> None:
    for garbage in (b"\0" * 100, b"GET\r\n\r\n", b"\xff" * 70_000, b"POST / HTTP/9.9\r\n\r\n"):
        with raw(server) as connection:
            connection.sendall(garbage)
    assert send(server, "POST", "/add-checkpoint", request_for(log_key))[0] == 200


def test_unusable_state_gives_503_and_no_signature(
    server: WitnessServer, log_key: LogKey, tmp_path: Path
) -> None:
    (tmp_path / "w" / "witness.sqlite3").write_bytes(b"\xff" * 8192)
    status, _, body = send(server, "POST", "/add-checkpoint", request_for(log_key))
    assert (status, body) == (503, b"the witness cannot sign now\n")


def test_concurrent_requests_are_answered_one_by_one(
    server: WitnessServer, log_key: LogKey
) -> None:
    answers = []

    def ask() -> None:
        answers.append(send(server, "POST", "/add-checkpoint", request_for(log_key))[0])

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [409] * 11


def test_port_in_use_and_missing_start_are_reported(server: WitnessServer, tmp_path: Path) -> None:
    key, state = open_witness(tmp_path / "w")
    port = urlsplit(server.url).port or 0
    with pytest.raises(ListenFailed, match="choose another"):
        WitnessServer(Witness(key, [], state), port=port).start()
    with pytest.raises(ServerError, match="start"):
        _ = WitnessServer(Witness(key, [], state)).url


def test_witness_command_serves_until_sigterm(tmp_path: Path, log_key: LogKey) -> None:
    command = [sys.executable, "-m", "ugsd_server", "witness", "--state", str(tmp_path / "w")]
    command += ["--log-key", log_key.public.to_text(), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        key = WitnessPublicKey.from_text(process.stdout.readline().split(": ")[1])
        port = int(re.search(r":(\d+)$", process.stdout.readline().strip())[1])  # type: ignore[index]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("POST", "/add-checkpoint", request_for(log_key))
        body = connection.getresponse().read().decode()
        connection.close()
        assert verify_cosignature(sign_checkpoint(1, LEAVES[0], log_key) + body, key)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def locked(folder: Path) -> sqlite3.Connection:
    """Lock the witness's state until the connection is closed."""
    db = sqlite3.connect(folder / "witness.sqlite3", isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    return db


def test_sigterm_waits_for_pending_request(tmp_path: Path, log_key: LogKey) -> None:
    command = [sys.executable, "-m", "ugsd_server", "witness", "--state", str(tmp_path / "w")]
    command += ["--log-key", log_key.public.to_text(), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        key = WitnessPublicKey.from_text(process.stdout.readline().split(": ")[1])
        port = int(process.stdout.readline().strip().rpartition(":")[2])
        with contextlib.closing(locked(tmp_path / "w")):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("POST", "/add-checkpoint", request_for(log_key))
            time.sleep(0.3)  # the request is read and waits for the state
            process.send_signal(signal.SIGTERM)
            time.sleep(1)
            assert process.poll() is None
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        assert answer.status == 200
        assert verify_cosignature(sign_checkpoint(1, LEAVES[0], log_key) + body, key)
        assert process.wait(5) == 0


def test_closing_ignores_idle_clients_and_takes_bounded_time(
    tmp_path: Path, log_key: LogKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_server, "_LAST_ANSWER_S", 0.3)
    key, state = open_witness(tmp_path / "w")
    with WitnessServer(Witness(key, [log_key.public], state), request_s=30) as server:
        silent, half, whole = raw(server), raw(server), raw(server)
        half.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 500\r\n\r\nold 0\n")
        body = request_for(log_key)
        with contextlib.closing(locked(tmp_path / "w")):
            head = f"POST /add-checkpoint HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
            whole.sendall(head.encode() + body)
            time.sleep(0.2)
            begun = time.monotonic()
            server.close()
            assert time.monotonic() - begun < 3
    assert silent.recv(1) == b""
    assert half.recv(100).startswith(b"HTTP/1.0 400")
    for connection in (silent, half, whole):
        connection.close()


def test_truncated_request_is_refused(server: WitnessServer, log_key: LogKey) -> None:
    body = request_for(log_key)
    with raw(server) as connection:
        head = f"POST /add-checkpoint HTTP/1.1\r\nContent-Length: {len(body) + 1}\r\n\r\n"
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100).startswith(b"HTTP/1.0 400")


def test_witness_command_reports_errors(
    tmp_path: Path, log_key: LogKey, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["witness", "--state", str(tmp_path / "w"), "--log-key"]
    assert main([*arguments, "no/such/file"]) == 1
    assert "no key file at no/such/file" in capsys.readouterr().err
    (tmp_path / "w" / "witness.sqlite3").unlink()
    assert main([*arguments, log_key.public.to_text()]) == 1
    assert "no longer knows what it cosigned" in capsys.readouterr().err
    assert main(["witness"]) == 2
