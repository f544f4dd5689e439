"""``ugsd-lab bench drafting``: what drafting costs, compared with the same weights in PyTorch.

Every system drafts the same captions in turn, with the same guide, uncertainty and decoder state
machine, on one thread, and must draft the same tokens. Only what runs the decoder's network, and
how many tokens it reads in a step, differs.

Times are CPU times of that thread, which does no input or output: on an idle machine, the time that
passes. On a busy one the time that passes would favour the faster system, which is interrupted
less.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import MAX_CAPTION_TOKENS
from ugsd_privacy.reasons import ReasonCode
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.decoding.decoder import Decoder
from ugsd_sdk.decoding.policy import NeverEscalate
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.drafter import ConditionedClip
from ugsd_sdk.drafter.bundle import PROPOSALS_FILE, SLOTS_FILE, DrafterBundle
from ugsd_sdk.drafter.caption_drafts import CaptionDrafts, DecoderRun
from ugsd_sdk.drafter.guided_session import GuidedDraftSession
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.drafter.proposals import parse_proposals
from ugsd_sdk.drafter.slot_table import parse_slots
from ugsd_sdk.driver import drive
from ugsd_sdk.onnx_sessions import onnx_session
from ugsd_sdk.settings.config import Settings

from ugsd_lab.data.corpora import Clip
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.eager_decoder import EagerDecoder, TunedEagerDecoder, load_decoder
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.models.torch_threads import one_torch_thread
from ugsd_lab.tables import TextTable

__all__ = ["DraftingCost", "bench_drafting", "notes", "tables"]

EAGER = "PyTorch eager, as trained"
TUNED = "PyTorch eager, tuned"
ONE_BY_ONE = "ONNX Runtime, token by token"
PROPOSALS = "ONNX Runtime, with proposals"
GOAL = 8.5
"""Tokens per second with proposals, as a multiple of PyTorch eager."""


@dataclass
class DraftingCost:
    """What the captions of one length cost one system."""

    length: str
    system: str
    captions: int = 0
    tokens: int = 0
    """The end markers included."""
    steps: int = 0
    """Runs of the decoder's network."""
    seconds: float = 0.0
    """The sum of each caption's median time."""
    model_seconds: float = 0.0
    """The part of it in the network."""

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "tokens_per_s": self.tokens_per_s}


def bench_drafting(
    clips: Sequence[Clip], folder: Path, runs: int, progress: Progress
) -> list[DraftingCost]:
    """Draft captions of ``clips`` in every length, ``runs`` times with each system, and once more
    before that. Raises :class:`EvaluationError` if two systems draft different captions."""
    requests = _requests(clips, folder, progress)
    costs: dict[tuple[str, str], DraftingCost] = {}
    with one_torch_thread():
        bench = _Bench(folder)
        for done, (length, clip) in enumerate(requests, 1):
            drafts = bench.draft(clip, runs)
            if len({draft.tokens for draft in drafts.values()}) > 1:
                raise EvaluationError(
                    f"the systems draft different captions of clip {done}: they do not run the "
                    "same weights, or two words are equally likely"
                )
            for system, draft in drafts.items():
                for name in (length.value, "all"):
                    cost = costs.setdefault((name, system), DraftingCost(name, system))
                    cost.captions += 1
                    cost.tokens += len(draft.tokens)
                    cost.steps += draft.steps
                    cost.seconds += median(draft.seconds)
                    cost.model_seconds += median(draft.model_seconds)
            progress("drafting", done, len(requests), "")
    order = [*(length.value for length in CaptionLength), "all"]
    return sorted(costs.values(), key=lambda cost: order.index(cost.length))


@dataclass
class _Draft:
    """The timed drafts of one caption by one system."""

    tokens: tuple[int, ...] = ()
    steps: int = 0
    seconds: list[float] = field(default_factory=list)
    model_seconds: list[float] = field(default_factory=list)


class _Bench:
    """The systems, and what they share."""

    def __init__(self, folder: Path) -> None:
        bundle = DrafterBundle(folder)
        self._description = d = bundle.description()
        files, pieces = bundle.files(d), bundle.pieces()
        table = parse_slots(files[SLOTS_FILE], num_tokens=len(pieces))
        if PROPOSALS_FILE not in files:
            raise EvaluationError(f"{folder} has no {PROPOSALS_FILE}: export the drafter again")
        proposals = parse_proposals(files[PROPOSALS_FILE], num_tokens=len(pieces))
        one_by_one = CaptionDrafts(d, pieces, table, None)
        proposed = CaptionDrafts(d, pieces, table, proposals)
        network = load_decoder(bundle.find("decoder.onnx"))
        session = onnx_session(files["decoder.onnx"])

        def onnx(feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
            return session.run(None, feeds)  # type: ignore[no-any-return]

        self._systems: dict[str, tuple[CaptionDrafts, DecoderRun]] = {
            EAGER: (one_by_one, EagerDecoder(network).run),
            TUNED: (one_by_one, TunedEagerDecoder(network).run),
            ONE_BY_ONE: (one_by_one, onnx),
            PROPOSALS: (proposed, onnx),
        }
        self._pieces = pieces
        self._uncertainty = RejectionPredictor.load(bundle.rejection_predictor_file)
        self._rules = BlockRules(table)

    def draft(self, clip: ConditionedClip, runs: int) -> dict[str, _Draft]:
        """Return what each system drafts for ``clip``, system after system in each of the runs."""
        drafts: dict[str, _Draft] = defaultdict(_Draft)
        for run in range(runs + 1):
            for name, (captions, decoder) in self._systems.items():
                model = _Timed(decoder)
                tokens, seconds = self._drafted(partial(captions.start, clip, model.run))
                draft = drafts[name]
                draft.tokens, draft.steps = tokens, model.steps
                if run:
                    draft.seconds.append(seconds)
                    draft.model_seconds.append(model.seconds)
        return drafts

    def _drafted(self, start: Callable[[], GuidedDraftSession]) -> tuple[tuple[int, ...], float]:
        d = self._description
        started_s = thread_time()
        decoder = Decoder(
            lambda _: start(),
            eos=d.eos,
            max_tokens=min(d.max_tokens, MAX_CAPTION_TOKENS),
            ood_score=1.0,
            uncertainty=self._uncertainty,
            policy=NeverEscalate(ReasonCode.NO_VERIFIER),
            piece=self._pieces.__getitem__,
            rules=self._rules,
        )
        finished, _ = drive(decoder, None)
        seconds = thread_time() - started_s
        return tuple(token.token for token in finished.tokens), seconds


class _Timed:
    """A decoder's network that counts its steps and the time in them."""

    def __init__(self, decoder: DecoderRun) -> None:
        self._decoder = decoder
        self.steps = 0
        self.seconds = 0.0

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        started_s = thread_time()
        outputs = self._decoder(feeds)
        self.seconds += thread_time() - started_s
        self.steps += 1
        return outputs


class _NotesStarts(OnnxDrafter):
    """A drafter that notes the clips, with their plans, that captions are drafted for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.started: list[ConditionedClip] = []

    def start(self, clip: ConditionedClip, *, emotion: str | None = None) -> GuidedDraftSession:
        self.started.append(clip)
        return super().start(clip, emotion=emotion)


def _requests(
    clips: Sequence[Clip], folder: Path, progress: Progress
) -> list[tuple[CaptionLength, ConditionedClip]]:
    """Return each clip in each length, as a captioner asks its drafter for it."""
    drafter = _NotesStarts(folder)
    lengths = list(CaptionLength)
    with (
        tempfile.TemporaryDirectory(prefix="ugsd-bench-") as home,
        Captioner(
            drafter,
            config=Settings(home=Path(home)),
            uncertainty=RejectionPredictor.load(DrafterBundle(folder).rejection_predictor_file),
        ) as captioner,
    ):
        for done, clip in enumerate(clips, 1):
            for length in lengths:
                captioner.caption(clip.path, length=length)
            progress("encoding", done, len(clips), "")
    if len(drafter.started) != len(clips) * len(lengths):
        raise EvaluationError("a clip has no speech: name others")
    return list(zip(lengths * len(clips), drafter.started, strict=True))


def tables(costs: Sequence[DraftingCost]) -> list[TextTable]:
    """Return the table of all lengths and systems."""
    header = (
        "caption", "system", "tokens/s", "ms", "ms in the network", "steps", "tokens a step",
        "x eager", "x tuned eager", "x eager's network",
    )  # fmt: skip
    rows = []
    by_name = {(cost.length, cost.system): cost for cost in costs}
    for cost in costs:
        eager, tuned = (by_name[cost.length, name] for name in (EAGER, TUNED))
        ratios = (eager.seconds, tuned.seconds, eager.model_seconds)
        per_caption = 1000 / cost.captions
        rows.append((
            cost.length,
            cost.system,
            f"{cost.tokens_per_s:,.0f}",
            f"{per_caption * cost.seconds:.2f}",
            f"{per_caption * cost.model_seconds:.2f}",
            f"{cost.steps / cost.captions:.2f}",
            f"{cost.tokens / cost.steps:.1f}",
            *(f"{seconds / cost.seconds:.1f}" for seconds in ratios),
        ))  # fmt: skip
    return [TextTable(header, rows, left=("caption", "system"))]


def notes(costs: Sequence[DraftingCost]) -> list[str]:
    """Return what the table does not say, and whether the goal is met."""
    by_name = {cost.system: cost for cost in costs if cost.length == "all"}
    ratio = by_name[EAGER].seconds / by_name[PROPOSALS].seconds
    mark = "met" if ratio >= GOAL else "missed"
    return [
        f"with proposals, tokens/s relative to PyTorch eager: {ratio:.1f} x "
        f"(goal: >= {GOAL:g} x, {mark})",
        f"each of {by_name[EAGER].captions} captions has the same tokens by every system",
        "times are CPU times of the one thread that drafts",
    ]
