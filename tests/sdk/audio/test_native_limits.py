"""What the process around may forbid or do while a clip is read."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sdk.audio.clips import by_ffmpeg, encoded, tone

CLIPS = {
    "wav": encoded(tone(44_100), 44_100, "WAV"),
    "flac": encoded(tone(44_100), 44_100, "FLAC"),
    "mp3": encoded(tone(44_100), 44_100, "MP3"),
    "opus": encoded(tone(48_000), 48_000, "OGG", "OPUS"),
    "m4a": by_ffmpeg(tone(44_100), 44_100, "ipod", "aac"),
}

NO_EXECUTABLE_MEMORY = """
import ctypes, errno, pathlib, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
    sys.exit(77)
from ugsd_sdk.audio.samples import read_clip
path = pathlib.Path(sys.argv[1])
print(len(read_clip(path)), len(read_clip(path.read_bytes())), len(read_clip(path.open("rb"))))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a switch of Linux")
@pytest.mark.parametrize("ending", CLIPS)
def test_reading_needs_no_executable_memory(ending: str, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(CLIPS[ending])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", NO_EXECUTABLE_MEMORY, tmp_path / "clip"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this kernel has no such switch")
    assert done.returncode == 0, done.stderr
    assert all(16_000 <= int(count) < 18_000 for count in done.stdout.split())


INTERRUPTED = """
import itertools, pathlib, signal, sys
from ugsd_sdk.audio.samples import read_clip

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
sys.unraisablehook = lambda _: None  # an interrupt in a destructor is Python's to drop
data = pathlib.Path(sys.argv[1]).read_bytes()
clip = data if sys.argv[2] == "bytes" else sys.argv[1]
interrupted = 0
read_clip(clip)
for n in range(80):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4 + n * 1e-4)
        read_clip(clip)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
print(interrupted)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="has no timer signals")
@pytest.mark.parametrize("given", ["path", "bytes"])
@pytest.mark.parametrize("ending", CLIPS)
def test_ctrl_c_is_never_a_damaged_file(ending: str, given: str, tmp_path: Path) -> None:
    repeated = CLIPS[ending] * 5 if ending in {"mp3", "opus"} else CLIPS[ending]
    (tmp_path / "clip").write_bytes(repeated)
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, tmp_path / "clip", given],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


IMPORTED = """
import sys
import ugsd_sdk
assert not {"soundfile", "soxr", "av"} & set(sys.modules)
import pathlib
from ugsd_sdk.audio.samples import read_clip
read_clip(pathlib.Path(sys.argv[1]))
print(*sorted({"soundfile", "av"} & set(sys.modules)))
"""


@pytest.mark.parametrize(("ending", "loaded"), [("wav", ""), ("flac", "soundfile"), ("m4a", "av")])
def test_only_the_decoder_needed_is_loaded(ending: str, loaded: str, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(CLIPS[ending])
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, tmp_path / "clip"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == loaded
