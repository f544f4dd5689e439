"""Where the time of a caption goes: its parts one by one, warm and in a fresh process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from ugsd_sdk.audio.samples import read_clip
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.prosody.meter import ProsodyMeter
from ugsd_sdk.speech.voice_activity import VoiceActivityDetector

from ugsd_lab.bench.figures import Figure, percentile
from ugsd_lab.models.embeddings import Progress

__all__ = ["FRESH_PARTS", "fresh_figures", "measure_parts"]

FRESH_PARTS = """
import json, sys
from time import perf_counter
times = [perf_counter()]
import ugsd_sdk.captioner
times.append(perf_counter())
import onnxruntime
times.append(perf_counter())
captioner = ugsd_sdk.captioner.Captioner()
captioner.load()
times.append(perf_counter())
captioner.caption(sys.argv[1])
times.append(perf_counter())
print(json.dumps([after - before for before, after in zip(times, times[1:])]))
"""
"""What a fresh process runs to print the seconds of each of :data:`_FRESH_NAMES`."""
_FRESH_NAMES = (
    "importing the SDK",
    "importing ONNX Runtime",
    "loading the models",
    "the first caption",
)


def measure_parts(clip: Path, runs: int, progress: Progress) -> list[Figure]:
    """Time the parts of captioning ``clip``, a file, in turn, so that all meet the same machine."""
    detector, drafter = VoiceActivityDetector(), OnnxDrafter(DrafterBundle.of(STARTER).folder)
    drafter.load()
    recording = read_clip(clip)
    found = detector.find(recording)
    speech = found.samples(recording)
    embedding = drafter.embed(speech)

    def measure_prosody() -> None:
        meter = ProsodyMeter()
        meter.add(recording, found.spans)
        meter.result()
        meter.notes()

    parts: dict[str, Callable[[], object]] = {
        "reading the file": lambda: read_clip(clip),
        "speech detection": lambda: detector.find(recording),
        "audio encoder": lambda: drafter.embed(speech),
        "emotion, state and OOD score": lambda: drafter.condition(embedding),
        "prosody": measure_prosody,
    }
    times_ms: dict[str, list[float]] = {name: [] for name in parts}
    for done in range(1, runs + 2):
        for name, part in parts.items():
            started_s = perf_counter()
            part()
            times_ms[name].append(1000 * (perf_counter() - started_s))
        progress("warm, parts", done, runs + 1, "")
    return [
        Figure(f"  {name} alone, p50", percentile(times[1:], 50), "ms")
        for name, times in times_ms.items()
    ]


def fresh_figures(printed: list[str]) -> list[Figure]:
    """Return the figures of what fresh processes printed that ran :data:`FRESH_PARTS`."""
    rows = [json.loads(line) for line in printed]
    return [
        Figure(f"  {name}, p50", percentile([row[place] for row in rows], 50), "s")
        for place, name in enumerate(_FRESH_NAMES)
    ]
