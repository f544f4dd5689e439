"""The server's command line, run by operators and by the SDK's embedded mode."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
from ugsd_privacy.protocol.messages import Verdict
from ugsd_server.cli import main
from websockets.exceptions import ConnectionClosed


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("UGSD_SERVER_"):
            monkeypatch.delenv(name)


def test_keygen_writes_private_file_and_prints_public_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "verifier.key"
    assert main(["keygen", "--key-file", str(file)]) == 0
    printed = capsys.readouterr().out.strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (tmp_path / "verifier.key.pub").read_text().strip() == printed
    assert VerifierPublicKey.from_text(printed) == VerifierKey.load(file).public
    before = file.read_bytes()
    assert main(["keygen", "--key-file", str(file)]) == 1
    assert "verifier.key exists; choose another --key-file or remove it" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_keygen_reports_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "no" / "verifier.key"
    assert main(["keygen", "--key-file", str(file)]) == 1
    printed = capsys.readouterr().err
    assert f"ugsd-server: cannot create the key file {file}: No such file or directory" in printed
    assert f"create the folder {file.parent}, or correct the path" in printed


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--port", "99999", "--key-file", "x"], 2, "--port"),
        (["--port", "eighty", "--key-file", "x"], 2, "--port"),
        (["--threads", "0", "--key-file", "x"], 2, "--threads"),
        (["--colour"], 2, "--colour"),
        (["keygen"], 2, "--key-file"),
        ([], 2, "ugsd-server keygen --key-file FILE"),
        (["--key-file", "nowhere.key"], 1, "ugsd-server keygen --key-file nowhere.key"),
    ],
)
def test_wrong_usage_and_missing_key_name_next_step(
    argv: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_variable_out_of_range_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UGSD_SERVER_TYPICAL_DELTA", "1.5")
    assert main(["--key-file", "x"]) == 2
    assert "UGSD_SERVER_TYPICAL_DELTA" in capsys.readouterr().err


def test_unusable_key_port_or_model_prevents_start(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "verifier.key"
    VerifierKey.generate().save(file)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--port", port, "--key-file", str(file), "--model", str(tiny_model)]) == 1
    assert f"port {port}: Address already in use; choose another" in capsys.readouterr().err
    assert main(["--key-file", str(file), "--model", str(tmp_path / "none")]) == 1
    assert "give a folder with model.json and verifier.onnx" in capsys.readouterr().err
    file.chmod(0o644)
    assert main(["--key-file", str(file), "--model", str(tiny_model)]) == 1
    assert f"chmod 600 {file}" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--help"], ["keygen", "--help"], ["rotate", "--help"]])
def test_help_has_examples_and_exit_codes(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "--key-file" in text
    if argv == ["--help"]:
        assert "  ugsd-server --port 8765 --key-file verifier.key\n" in text
        assert "Exit codes: 0 stopped on request" in text


class Child:
    """``python -m ugsd_server`` as a child process, started as the SDK starts it."""

    def __init__(self, folder: Path, model: Path, *options: str) -> None:
        self.key_file = folder / "verifier.key"
        command = [sys.executable, "-W", "error", "-m", "ugsd_server", "--port", "0"]
        command += ["--key-file", str(self.key_file), "--create-key", "--model", str(model)]
        self.process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def announcement(self) -> dict[str, str]:
        assert self.process.stdout is not None
        fields: dict[str, str] = json.loads(self.process.stdout.readline())
        return fields


@pytest.fixture
def child(tmp_path: Path, tiny_model: Path) -> Iterator[Child]:
    child = Child(tmp_path, tiny_model, "--announce", "--exit-with-stdin")
    yield child
    child.process.kill()
    child.process.communicate()


def test_embedded_server_announces_answers_and_stops_with_stdin(
    child: Child, dial: Any, make_block: Any
) -> None:
    announced = child.announcement()
    assert sorted(announced) == ["public_key", "url"]
    assert re.fullmatch(r"ws://127\.0\.0\.1:\d+", announced["url"])
    public = VerifierPublicKey.from_text(announced["public_key"])
    assert public == VerifierKey.load(child.key_file).public
    assert stat.S_IMODE(child.key_file.stat().st_mode) == 0o600

    async def ask() -> None:
        device = await dial(announced["url"], public)
        assert isinstance(await device.ask(make_block((2, 3), states={0: (9, 9, 9)})), Verdict)
        await device.socket.close()

    asyncio.run(ask())
    rest, errors = child.process.communicate(timeout=10)  # closes its standard input
    assert rest == ""
    assert errors == "verifier model tiny; licence: test data\n"
    assert child.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_closes_connections_and_exits_with_zero(
    child: Child, dial: Any, number: signal.Signals
) -> None:
    announced = child.announcement()

    async def scenario() -> None:
        device = await dial(announced["url"], VerifierPublicKey.from_text(announced["public_key"]))
        child.process.send_signal(number)
        with pytest.raises(ConnectionClosed) as closed:
            await device.socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001

    asyncio.run(scenario())
    assert child.process.wait(timeout=10) == 0


def test_running_server_accepts_new_and_previous_key(
    child: Child, dial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    announced = child.announcement()
    previous = VerifierPublicKey.from_text(announced["public_key"])
    assert main(["rotate", "--key-file", str(child.key_file)]) == 0
    new = VerifierPublicKey.from_text(capsys.readouterr().out)

    async def scenario() -> None:
        for public in (new, previous):
            device = await dial(announced["url"], public)
            assert device.welcome.max_tokens == 20
            await device.socket.close()
        unknown = await dial(announced["url"], VerifierKey.generate().public, greet=False)
        await unknown.socket.send(unknown.channel.hello())
        assert await unknown.closed() == (1008, "")

    asyncio.run(scenario())


def test_server_prints_its_key_and_address(tmp_path: Path, tiny_model: Path) -> None:
    child = Child(tmp_path, tiny_model)
    try:
        assert child.process.stdout is not None
        lines = [child.process.stdout.readline() for _ in range(3)]
        public = VerifierKey.load(child.key_file).public
        assert lines[0] == f"public key to pin: {public.to_text()}\n"
        assert lines[1] == f"fingerprint: {public.fingerprint}\n"
        assert lines[2].startswith("listening on ws://127.0.0.1:")
    finally:
        child.process.terminate()
        child.process.communicate(timeout=10)
    assert child.process.returncode == 0


def test_server_imports_no_torch_and_keygen_no_onnxruntime() -> None:
    probe = (
        "import sys, ugsd_server.cli; a = set(sys.modules); import ugsd_server.app;"
        "b = set(sys.modules); print('onnxruntime' in a, 'torch' in b, 'rich' in b)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "False False False\n"
