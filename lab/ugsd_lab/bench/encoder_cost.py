"""What an audio encoder costs on the device: ``python -m ugsd_lab.bench.encoder_cost`` measures one
graph in a process of its own, in which nothing else uses memory or threads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.output.terminal import print_line
from ugsd_sdk.drafter.bundle import AUDIO_ENCODER_GRAPH
from ugsd_sdk.onnx_sessions import onnx_session
from ugsd_sdk.speech.windows import embed_in_windows

from ugsd_lab.bench.measured_process import measured_environment

if TYPE_CHECKING:
    from ugsd_lab.models.audio_encoder import AudioEncoder

__all__ = ["EncoderCost", "exported", "measure_encoder"]

CLIP_SECONDS = 4.0
_TIMEOUT_S = 600
_KIB_PER_MB = 1e6 / 1024


@dataclass(frozen=True)
class EncoderCost:
    """The cost of embedding a clip of 4 s."""

    encode_ms: float
    """Log-mel, encoder and pooling on one thread, p50. It is CPU time, which other processes hardly
    change."""
    file_mb: float
    """Size of the graph as stored (10^6 bytes)."""
    memory_mb: float
    """How much the process' peak memory grows with loading and running it (10^6 bytes)."""


def exported(folder: Path, encoder: AudioEncoder) -> Path:
    """Write the graph of ``encoder`` to ``folder`` as drafters store it, and return its path."""
    from ugsd_lab.models.export import export_audio_encoder

    export_audio_encoder(folder, encoder)
    return folder / AUDIO_ENCODER_GRAPH


def measure_encoder(graph: Path, window_s: float, runs: int) -> EncoderCost:
    """Measure ``graph`` over ``runs`` clips, read in windows of at most ``window_s`` seconds.
    Memory is read from Linux's ``/proc``."""
    done = subprocess.run(  # noqa: S603  # our own interpreter and code
        [sys.executable, "-m", __name__, str(graph), str(window_s), str(runs)],
        capture_output=True,
        text=True,
        check=True,
        timeout=_TIMEOUT_S,
        env=measured_environment(),
    )
    return EncoderCost(**json.loads(done.stdout))


def _measure_here(graph: Path, window_s: float, runs: int) -> EncoderCost:
    rng = np.random.default_rng(0)
    clip = rng.standard_normal(int(CLIP_SECONDS * 16_000)).astype(np.float32)
    _import_runtime()
    before_kib = _peak_kib()
    session = onnx_session(graph.read_bytes())

    def embed_frames(frames: NDArray[np.float32]) -> NDArray[np.float32]:
        embeddings: NDArray[np.float32] = session.run(None, {"frames": frames})[0]
        return embeddings

    times_ms = []
    for _ in range(1 + runs):
        started_s = process_time()
        embed_in_windows(embed_frames, clip, window_s)
        times_ms.append(1000 * (process_time() - started_s))
    return EncoderCost(
        encode_ms=float(np.median(times_ms[1:])),
        file_mb=graph.stat().st_size / 1e6,
        memory_mb=(_peak_kib() - before_kib) / _KIB_PER_MB,
    )


def _import_runtime() -> None:
    """Import ONNX Runtime, whose own memory is that of any drafter."""
    import onnxruntime  # noqa: F401


def _peak_kib() -> float:
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    return float(found[1]) if found else float("nan")


def main(argv: list[str]) -> None:
    """Print the cost of a graph, given its path, window length in seconds and number of runs."""
    graph, window_s, runs = argv
    print_line(json.dumps(asdict(_measure_here(Path(graph), float(window_s), int(runs)))))


if __name__ == "__main__":
    main(sys.argv[1:])
