"""``ugsd-lab evaluate``: every way of decoding on the same clips in one run.

The arms that escalate go the whole way: the SDK's captioner, the door with its durable ledger, the
sealed session and the verifier's session, joined in memory so that no network blurs the times.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.keys import VerifierKey
from ugsd_sdk.caption import Caption
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.config import Settings
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.policy import AlwaysEscalate, NeverEscalate, Policy
from ugsd_sdk.transport.memory import MemoryTransport
from ugsd_server.session import Reply, VerifierSession, Work
from ugsd_server.verifier.acceptance import probabilities
from ugsd_server.verifier.engine import Verifier
from ugsd_server.verifier.onnx import OnnxScorer

from ugsd_lab.captions import references
from ugsd_lab.corpora import Clip, read_samples
from ugsd_lab.metrics import bleu, emotion_right
from ugsd_lab.prosody import Norms, measure_all
from ugsd_lab.training import Progress

__all__ = ["ARMS", "Row", "as_json", "evaluate", "in_memory", "over_speakers"]

ARMS = ("drafter alone", "UGSD", "escalate everything", "verifier on every token")
_NO_CAPS = BudgetLimits(**dict.fromkeys(BudgetLimits.model_fields))


@dataclass(frozen=True)
class Row:
    """One arm on one corpus; means over its clips unless said otherwise."""

    corpus: str
    arm: str
    clips: int
    bleu: float
    """sacreBLEU corpus score, 0 to 100."""
    emotion: float
    """Share of captions that name the right emotion and no other."""
    emotion_low: float
    emotion_high: float
    """Its 95 % interval, bootstrapped over speakers; coarse where a corpus has two of them."""
    words: float
    escalation: float
    """Escalated tokens / drafted tokens."""
    disclosed: float
    """Distinct token positions that left / caption length, the end marker included."""
    round_trips: float
    bytes_sent: float
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class _Said:
    """What an arm said of a clip; ``caption`` where it went through the captioner."""

    text: str
    total_ms: float
    caption: Caption | None


def in_memory(verifier: Verifier, key: VerifierKey) -> Callable[[], MemoryTransport]:
    """Transports to a verifier's session in this process."""

    def connect() -> MemoryTransport:
        session = VerifierSession(key, verifier)

        def answer(frame: bytes) -> bytes | None:
            step = session.receive(frame)
            if isinstance(step, Work):
                step = session.finish(step.run())
            return step.frame if isinstance(step, Reply) else None

        return MemoryTransport(answer)

    return connect


def evaluate(
    clips: Sequence[Clip],
    *,
    drafter: Path,
    verifier: Path,
    norms: Norms,
    cache: Path,
    progress: Progress,
) -> list[Row]:
    """A row per corpus and arm, over all of ``clips``."""
    measures = measure_all(clips, cache, lambda done, of: progress("measuring", done, of, ""))
    wanted = {clip.id: references(clip, norms.levels(clip, measures[clip.id])) for clip in clips}
    engine = Verifier(OnnxScorer(verifier))
    engine.load()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ugsd-evaluate-") as home:
        for arm in ARMS:
            said = _run(arm, clips, drafter, verifier, engine, Path(home), progress)
            for corpus in dict.fromkeys(clip.corpus for clip in clips):
                chosen = [clip for clip in clips if clip.corpus == corpus]
                rows.append(_row(corpus, arm, chosen, said, wanted))
    return sorted(rows, key=lambda row: row.corpus)  # stable: arms stay in their order


def _run(
    arm: str,
    clips: Sequence[Clip],
    drafter: Path,
    verifier: Path,
    engine: Verifier,
    home: Path,
    progress: Progress,
) -> dict[str, _Said]:
    if arm == "verifier on every token":
        return _verifier_alone(clips, drafter, verifier, progress)
    policies: dict[str, Policy | None] = {
        "drafter alone": NeverEscalate(),
        "UGSD": None,
        "escalate everything": AlwaysEscalate(),
    }
    key = VerifierKey.generate()
    captioner = Captioner(
        drafter,
        verifier=None if arm == "drafter alone" else in_memory(engine, key),
        verifier_key=key.public.to_text(),
        policy=policies[arm],
        config=Settings.of(home=home / arm.replace(" ", "-"), limits=_NO_CAPS),
    )
    said: dict[str, _Said] = {}
    with captioner:
        captioner.connect()
        for done, clip in enumerate(clips, 1):
            caption = captioner.caption(clip.path)
            said[clip.id] = _Said(caption.text, caption.latency_ms.total, caption)
            progress(arm, done, len(clips), "")
    return said


def _verifier_alone(
    clips: Sequence[Clip], drafter_folder: Path, verifier_folder: Path, progress: Progress
) -> dict[str, _Said]:
    """The verifier decodes greedily from the summary state: what it would say on its own."""
    drafter, scorer = OnnxDrafter(drafter_folder), OnnxScorer(verifier_folder)
    drafter.load()
    scorer.load()
    said: dict[str, _Said] = {}
    for done, clip in enumerate(clips, 1):
        started_s = perf_counter()
        session = drafter.start(drafter.encode(read_samples(clip)))
        cache, token, tokens = scorer.new_cache(), scorer.info.bos, list[int]()
        state, has_state = session.predict().state[None], np.ones(1, dtype=np.float32)
        while len(tokens) < scorer.info.max_tokens:
            logits = scorer.extend(cache, np.array([token], dtype=np.int64), state, has_state)
            token = int(probabilities(logits[0], None).argmax())
            if token == scorer.info.eos:
                break
            tokens.append(token)
            state, has_state = np.zeros_like(state), np.zeros_like(has_state)
        text = drafter.text(tokens)
        said[clip.id] = _Said(text, 1000 * (perf_counter() - started_s), None)
        progress("verifier on every token", done, len(clips), "")
    return said


def _row(
    corpus: str,
    arm: str,
    clips: Sequence[Clip],
    said: dict[str, _Said],
    wanted: dict[str, list[str]],
) -> Row:
    texts = [said[clip.id].text for clip in clips]
    latencies = [said[clip.id].total_ms for clip in clips]
    captions = [caption for clip in clips if (caption := said[clip.id].caption) is not None]
    costs = [(caption.escalation, len(caption.tokens) + 1) for caption in captions]
    right = [emotion_right(text, clip.emotion) for text, clip in zip(texts, clips, strict=True)]
    low, high = over_speakers([clip.speaker for clip in clips], right)
    nothing = float("nan")
    return Row(
        corpus=corpus,
        arm=arm,
        clips=len(clips),
        bleu=bleu(texts, [wanted[clip.id] for clip in clips]),
        emotion=float(np.mean(right)),
        emotion_low=low,
        emotion_high=high,
        words=float(np.mean([len(text.split()) for text in texts])),
        escalation=(
            sum(c.tokens for c, _ in costs) / sum(c.drafted_tokens for c, _ in costs)
            if costs
            else nothing
        ),
        disclosed=(
            sum(c.disclosed_tokens for c, _ in costs) / sum(length for _, length in costs)
            if costs
            else nothing
        ),
        round_trips=float(np.mean([c.blocks for c, _ in costs])) if costs else nothing,
        bytes_sent=float(np.mean([c.bytes_sent for c, _ in costs])) if costs else nothing,
        p50_ms=float(np.percentile(latencies, 50)),
        p95_ms=float(np.percentile(latencies, 95)),
    )


def over_speakers(
    speakers: Sequence[str], values: Sequence[float], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the mean of ``values``, whole speakers drawn with replacement."""
    names = sorted(set(speakers))
    pools = [
        np.array([v for s, v in zip(speakers, values, strict=True) if s == name], dtype=float)
        for name in names
    ]
    sums, sizes = np.array([p.sum() for p in pools]), np.array([len(p) for p in pools])
    drawn = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Rows as plain data; a measure that an arm does not have is null."""
    return [
        {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in asdict(row).items()}
        for row in rows
    ]
