"""The wheel for devices has no server, verifier or lab, and captions all the same."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:3]
import ugsd
clip = f"{sys.argv[1]}/ugsd_sdk/starter/clips/16a04Ab.opus"
with ugsd.Captioner() as captioner:
    print(captioner.caption(clip).attributes.emotion.value)
try:
    ugsd.Captioner(verifier="embedded", home=sys.argv[3]).load()
except ugsd.ConfigError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, str(ROOT / "packaging" / "device_wheel.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_device_wheel_has_the_device_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (n for n in names if n.endswith(".dist-info/METADATA"))
        (entries,) = (n for n in names if n.endswith(".dist-info/entry_points.txt"))
        described = archive.read(metadata).decode()
        commands = archive.read(entries).decode()
    folders = {name.split("/")[0] for name in names}
    assert folders - {metadata.split("/")[0]} == {"ugsd", "ugsd_privacy", "ugsd_sdk"}
    assert "+device" in described
    assert "Requires-Dist: torch" not in described
    assert "ugsd_server" not in commands
    assert "ugsd_lab" not in commands
    for needed in ("ugsd_sdk/starter/decoder.onnx", "ugsd_sdk/free/decoder.onnx"):
        assert needed in names


def test_device_wheel_captions_without_a_verifier(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "app")
    arguments = [str(tmp_path / "app"), sysconfig.get_path("purelib"), str(tmp_path / "home")]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    emotion, refused = done.stdout.splitlines()
    assert emotion == "fearful"
    assert "install the whole package" in refused
