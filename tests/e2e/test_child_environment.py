"""The environment of this process does not reach the verifier process that it starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ugsd_privacy
import ugsd_sdk
import ugsd_server
from ugsd_lab.bench.device import _python
from ugsd_sdk.connection.embedded import EmbeddedVerifier
from ugsd_server.settings import Settings

PROC = Path("/proc")
LISTENING = "0A"  # TCP_LISTEN, in /proc/net/tcp
LOOPBACK = "0100007F"
HOSTILE = {
    "UGSD_SERVER_HOST": "0.0.0.0",
    "UGSD_SERVER_PORT": "1",
    "UGSD_SERVER_MODEL": "/nowhere",
    "PYTHONPATH": "/nowhere",
}
LIBRARIES = (
    # OpenSSL, the system's loader and allocator
    *("OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES", "OPENSSL_ENGINES"),
    *("OPENSSL_ia32cap", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "CTLOG_FILE"),
    *("LD_LIBRARY_PATH", "LD_BIND_NOW", "GCONV_PATH", "LOCPATH", "GLIBC_TUNABLES"),
    # ONNX Runtime and the threads below it
    *("ORT_DISABLE_TELEMETRY", "ORT_LOG_LEVEL", "ORT_DEBUG_NODE_IO_DUMP_OUTPUT_DATA"),
    *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_TOOL_LIBRARIES", "KMP_AFFINITY"),
    *("GOMP_CPU_AFFINITY", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX"),
    # other libraries of the verifier's, proxies, places
    *("WEBSOCKETS_MAX_REDIRECTS", "WEBSOCKETS_BACKOFF_INITIAL_DELAY", "NUMPY_EXPERIMENTAL"),
    *("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "HOME", "TMPDIR", "PATH", "USER"),
    *("LANG", "LC_ALL", "TZ", "TERM", "COLUMNS", "UGSD_VERIFIER__URL", "UGSD_HOME"),
)


def of_python() -> Iterator[str]:
    """Yield the variables that this Python reads."""
    printed = subprocess.run(
        [sys.executable, "--help-env"], capture_output=True, text=True, check=True
    )
    yield from set(re.findall(r"\bPYTHON[A-Z0-9_]+\b", printed.stdout))


def of_server() -> Iterator[str]:
    for name in Settings.model_fields:
        yield f"{Settings.model_config['env_prefix']}{name}".upper()


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Set every variable that could matter."""
    names = {*of_python(), *of_server(), *LIBRARIES}
    assert len(names) > 80
    for name in names:
        # This Python has read its own; some must be sound for the libraries it has yet to load.
        monkeypatch.setenv(name, HOSTILE.get(name, os.environ.get(name, "planted")))
    return names


@pytest.mark.skipif(not PROC.exists(), reason="reads /proc")
@pytest.mark.usefixtures("planted")
def test_child_inherits_nothing_and_listens_on_loopback(tmp_path: Path) -> None:
    verifier = EmbeddedVerifier(tmp_path / "home")
    announced = verifier.start(60)
    try:
        process = verifier._process
        assert process is not None
        assert (PROC / str(process.pid) / "environ").read_bytes() == b""
        assert announced.url.startswith("ws://127.0.0.1:")
        assert [place for place, _ in listening(process.pid)] == [LOOPBACK]
    finally:
        verifier.close()


def listening(pid: int) -> list[tuple[str, str]]:
    """Return address and port, in hex, of each TCP socket that the process listens on."""
    links = [str(link.readlink()) for link in (PROC / str(pid) / "fd").iterdir()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = []
    for table in ("tcp", "tcp6"):
        for line in (PROC / str(pid) / "net" / table).read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTENING and inode in inodes:
                found.append(tuple(local.split(":")))
    return found  # type: ignore[return-value]


def test_server_is_found_through_pythonpath_alone(tmp_path: Path) -> None:
    """The Python's own environment does not contain our packages."""
    packages = {module.__name__: Path(module.__path__[0]) for module in (ugsd_privacy, ugsd_sdk)}
    packages["ugsd_server"] = Path(ugsd_server.__path__[0])
    folder = tmp_path / "packages"
    folder.mkdir()
    for name, source in packages.items():
        (folder / name).symlink_to(source)
    code = (
        "import sys; from pathlib import Path\n"
        "from ugsd_sdk.connection.embedded import EmbeddedVerifier\n"
        "verifier = EmbeddedVerifier(Path(sys.argv[1]))\n"
        "print(verifier.start(60).url); verifier.close()"
    )
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    libraries = {str(Path(sys.modules[name].__path__[0]).parent) for name in ("numpy", "pydantic")}
    done = subprocess.run(
        [str(bare / "bin" / "python"), "-c", code, str(tmp_path / "home")],
        env={"PYTHONPATH": os.pathsep.join([str(folder), *libraries])},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    log = tmp_path / "home" / "embedded-verifier.log"
    assert done.stdout.startswith("ws://127.0.0.1:"), done.stderr + log.read_text()


def test_settings_do_not_reach_a_measured_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in of_server():
        monkeypatch.setenv(name, "planted")
    monkeypatch.setenv("UGSD_HOME", "planted")
    seen = _python("-c", "import os; print([n for n in os.environ if n.startswith('UGSD')])")
    assert seen == "[]\n"
