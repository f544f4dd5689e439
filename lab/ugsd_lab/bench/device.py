"""``ugsd-lab bench device``: measures the SDK on this machine."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from time import perf_counter

import numpy as np
import soundfile
from packaging.requirements import Requirement

from ugsd_lab.bench.device_parts import FRESH_PARTS, fresh_figures, measure_parts
from ugsd_lab.bench.figures import Figure, percentile
from ugsd_lab.bench.measured_process import measured_environment
from ugsd_lab.data.corpora import Clip, load_corpora, read_samples
from ugsd_lab.evaluation import in_memory
from ugsd_lab.models.embeddings import Progress

__all__ = ["installed_size_mb", "measure_device"]

CLIP_SECONDS = 4.0
LONGEST_SECONDS = 30.0
PROCESSES = 5


def measure_device(runs: int, progress: Progress) -> list[Figure]:
    """Measure all figures, one after another, with the models on one thread. Memory is read from
    Linux's ``/proc``."""
    clips = [clip for clip in load_corpora(None) if clip.split == "test"]
    with tempfile.TemporaryDirectory(prefix="ugsd-bench-") as folder:
        four = _clip_of(CLIP_SECONDS, clips, Path(folder) / "four.wav")
        return [
            *_warm(four, runs, progress),
            *measure_parts(four, runs, progress),
            *_by_length(four, runs, progress),
            *_verified(four, runs, Path(folder) / "home", progress),
            *_fresh_processes(
                four, _clip_of(LONGEST_SECONDS, clips, Path(folder) / "30.wav"), progress
            ),
            _bytes_sent(clips, Path(folder), progress),
            Figure("base install", installed_size_mb("ugsd"), "MB", 300),
        ]


def _clip_of(seconds: float, clips: list[Clip], path: Path) -> Path:
    """Write real speech of exactly ``seconds``, concatenated from clips, to ``path``."""
    samples = np.concatenate([read_samples(clip) for clip in clips[:20]])
    soundfile.write(path, samples[: int(seconds * 16_000)], 16_000)
    return path


def _warm(clip: Path, runs: int, progress: Progress) -> list[Figure]:
    from ugsd_sdk.captioner import Captioner

    times: dict[str, list[float]] = {"total": [], "encode": [], "draft": []}
    with Captioner() as captioner:
        for _ in range(3):
            captioner.caption(clip)
        for done in range(1, runs + 1):
            latency_ms = captioner.caption(clip).latency_ms
            for name, values in times.items():
                values.append(getattr(latency_ms, name))
            progress("warm, offline", done, runs, "")
    return [
        Figure("4 s clip offline, p50", percentile(times["total"], 50), "ms", 45),
        Figure("4 s clip offline, p95", percentile(times["total"], 95), "ms"),
        Figure("  reading, audio encoder and prosody, p50", percentile(times["encode"], 50), "ms"),
        Figure("  drafting, p50", percentile(times["draft"], 50), "ms"),
    ]


def _by_length(clip: Path, runs: int, progress: Progress) -> list[Figure]:
    """Time the captions of each length in turn, so that all meet the same machine."""
    from ugsd_sdk.attributes.length import CaptionLength
    from ugsd_sdk.captioner import Captioner

    draft_ms: dict[CaptionLength, list[float]] = {length: [] for length in CaptionLength}
    num_tokens = 0
    with Captioner() as captioner:
        captioner.caption(clip)
        for done in range(1, runs + 1):
            for length, times in draft_ms.items():
                caption = captioner.caption(clip, length=length)
                times.append(caption.latency_ms.draft)
                num_tokens += len(caption.tokens) + 1
            progress("warm, lengths", done, runs, "")
    seconds = sum(map(sum, draft_ms.values())) / 1000
    return [
        *(
            Figure(f"  drafting a {length} caption, p50", percentile(times, 50), "ms")
            for length, times in draft_ms.items()
        ),
        Figure("  drafting", num_tokens / seconds, "tokens/s"),
    ]


def _verified(clip: Path, runs: int, home: Path, progress: Progress) -> list[Figure]:
    """Time captions that ask, and offline ones in turn, so that both meet the same machine."""
    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.decoding.policy import AlwaysEscalate
    from ugsd_sdk.settings.config import Settings

    settings = Settings(home=home, min_enrolment=0)
    times, more = [], []
    with (
        Captioner() as offline,
        Captioner(verifier="embedded", config=settings, policy=AlwaysEscalate()) as asking,
    ):
        asking.wait_until_connected()
        for captioner in (offline, asking):
            captioner.caption(clip)
        for done in range(1, runs + 1):
            alone_ms = offline.caption(clip).latency_ms.total
            caption = asking.caption(clip)
            if caption.unverified_reason is None:
                times.append(caption.latency_ms.total)
                more.append(caption.latency_ms.total - alone_ms)
            reason = "" if caption.unverified_reason is None else str(caption.unverified_reason)
            progress("warm, every caption asks", done, runs, reason)
    return [
        Figure("4 s clip, every caption verified on loopback, p50", percentile(times, 50), "ms"),
        Figure("4 s clip, every caption verified on loopback, p95", percentile(times, 95), "ms"),
        Figure("  more than offline, caption by caption, p50", percentile(more, 50), "ms", 10),
    ]


_IMPORT = """
from time import perf_counter
start = perf_counter()
import ugsd_sdk
print(perf_counter() - start)
"""
_FIRST_CAPTION = r"""
import re, sys
import ugsd_sdk
with ugsd_sdk.Captioner() as captioner:
    captioner.caption(sys.argv[1])
with open("/proc/self/status") as status:
    print(re.search(r"VmHWM:\s*(\d+) kB", status.read()).group(1))
"""


def _fresh_processes(clip: Path, longest: Path, progress: Progress) -> list[Figure]:
    imports, cold, memory, cli, parts = [], [], [], [], []
    for done in range(1, PROCESSES + 1):
        imports.append(float(_python("-c", _IMPORT)))
        cold.append(_timed(lambda: memory.append(float(_python("-c", _FIRST_CAPTION, str(clip))))))
        parts.append(_python("-c", FRESH_PARTS, str(clip)))
        cli.append(_timed(lambda: _python("-m", "ugsd_sdk", "caption", "--offline", str(clip))))
        progress("fresh processes", done, PROCESSES, "")
    kib_per_mb = 1e6 / 1024
    longest_kib = float(_python("-c", _FIRST_CAPTION, str(longest)))
    return [
        Figure("import ugsd_sdk, p50", percentile(imports, 50), "s", 0.3),
        Figure("fresh process to first caption, p50", percentile(cold, 50), "s", 0.6),
        *fresh_figures(parts),
        Figure("ugsd caption --offline, whole command, p50", percentile(cli, 50), "s"),
        Figure("peak memory of a process, 4 s clip", max(memory) / kib_per_mb, "MB", 200),
        Figure("peak memory of a process, 30 s clip", longest_kib / kib_per_mb, "MB", 200),
    ]


def _bytes_sent(clips: list[Clip], folder: Path, progress: Progress) -> Figure:
    from ugsd_privacy.keys.verifier import VerifierKey
    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.settings.config import Settings
    from ugsd_server.settings import STARTER_FOLDER
    from ugsd_server.verifier.engine import Verifier
    from ugsd_server.verifier.onnx import OnnxScorer

    verifier, key = Verifier(OnnxScorer(STARTER_FOLDER)), VerifierKey.generate()
    verifier.load()
    sent = []
    with Captioner(
        verifier=in_memory(verifier, key),
        verifier_key=key.public.to_text(),
        config=Settings(home=folder / "bytes", min_enrolment=0),
    ) as captioner:
        captioner.wait_until_connected()
        for done, clip in enumerate(clips, 1):
            sent.append(captioner.caption(clip.path).usage.bytes_sent)
            progress("counting bytes", done, len(clips), "")
    name = "sent per caption, without the handshake, mean (EMO-DB test)"
    return Figure(name, float(np.mean(sent)), "bytes", 1024)


def installed_size_mb(name: str) -> float:
    """Return the size in megabytes (10^6 bytes) of a distribution's files and of all its
    requirements, without extras."""
    sizes: dict[str, int] = {}
    waiting = [name]
    while waiting:
        key = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if key in sizes:
            continue
        try:
            found = distribution(key)
        except PackageNotFoundError:
            sizes[key] = 0
            continue
        files = {Path(str(found.locate_file(file))).resolve() for file in found.files or ()}
        if key == name:
            files |= _editable_files()
        sizes[key] = sum(path.stat().st_size for path in files if path.is_file())
        for line in found.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return sum(sizes.values()) / 1e6


def _editable_files() -> set[Path]:
    """Return the files of the four packages, which an editable install does not list."""
    from importlib.resources import files

    packages = ("ugsd_privacy", "ugsd_sdk", "ugsd_server", "ugsd_lab")
    return {path.resolve() for name in packages for path in Path(str(files(name))).rglob("*")}


def _python(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603  # our own interpreter and code
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=measured_environment(),
    )
    return done.stdout


def _timed(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start
