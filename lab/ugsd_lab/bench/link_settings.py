"""What ``ugsd-lab bench link`` compares: systems, captions, and speeds of device and verifier.

The paper's step times are those of its authors' public runs: Qwen2.5-Omni-3B in float32 on two CPU
cores against Qwen2.5-Omni-7B on a GPU (arXiv 2603.11397). Here they are replayed: the models are
the bundled ones, and each step lasts as long as the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.decoding.policy import AlwaysEscalate
from ugsd_sdk.settings.verification import BLOCK_TOKENS, BlockUnit, Continuation
from ugsd_server.verifier.acceptance import Rank

from ugsd_lab.bench.link_device import Pace, ReplayedSteps, Slowdown
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation import baselines
from ugsd_lab.evaluation.rows import ALONE
from ugsd_lab.evaluation.systems import System

__all__ = [
    "ADAPTIVE",
    "ALONE",
    "BUNDLED",
    "CLAUSE",
    "END",
    "EVERYTHING",
    "EVERY_BLOCK",
    "PAPER",
    "PAPER_TOKENS",
    "RECIPE",
    "SPLIT_EMBEDDING",
    "SPLIT_MEL",
    "SYSTEMS",
    "UGSD",
    "UGSD_HIDDEN",
    "WAITING",
    "LinkSystem",
    "Load",
    "Setting",
    "Upload",
    "VerifierPace",
    "paper_settings",
    "selected_systems",
    "slowed_settings",
    "systems_for",
]

UGSD, UGSD_HIDDEN, END = "UGSD by slot", "UGSD by slot, no delay", "UGSD to the end"
EVERY_BLOCK = "every block verified"
WAITING = "every block verified, the device waits"
ADAPTIVE = "every block verified, adaptive length"
CLAUSE, EVERYTHING = "verifier writes the clause", "verifier decodes everything"
RECIPE = "paper's recipe"
SPLIT_EMBEDDING, SPLIT_MEL = "yardstick: embedding uploaded", "yardstick: log-mel uploaded"
SYSTEMS = (
    ALONE, UGSD, UGSD_HIDDEN, END, EVERY_BLOCK, WAITING, ADAPTIVE, CLAUSE, EVERYTHING, RECIPE,
    SPLIT_EMBEDDING, SPLIT_MEL,
)  # fmt: skip
BUNDLED, PAPER = "bundled", "the paper's step times, replayed"
PAPER_TOKENS = 64
"""Length of the paper's captions on the device: 25.7 s at 2.51 tokens/s."""
_DEVICE_FIRST_TOKEN_S, _DEVICE_TOKENS_PER_S = 5.99, 2.51
_VERIFIER_FIRST_TOKEN_S, _VERIFIER_TOKENS_PER_S = 0.40, 24.6
_MIN_SAVING_S = 0.1
_PAPERS_OWN = "rank 20, tau 1.0"
"""The recipe in the authors' last runs."""


class Upload(StrEnum):
    """What a device uploads that splits the computation with a server."""

    EMBEDDING = "audio embedding"
    """The audio embedding, as 32-bit numbers."""
    MEL = "log-mel"
    """The log-mel spectrogram of the speech, as 16-bit numbers."""


@dataclass(frozen=True)
class LinkSystem:
    """A system, or a yardstick."""

    name: str
    system: System | None = None
    """``None`` for a yardstick. Without a policy of its own it has the captioner's."""
    block_tokens: int = BLOCK_TOKENS
    threshold: float | None = None
    max_delay_s: float | None = None
    min_saving_s: float | None = None
    adaptive_blocks: bool = False
    """These four are settings of the captioner."""
    drafts_on: bool = True
    """Whether the device drafts on while a question is in flight; else it waits."""
    upload: Upload | None = None
    """What a yardstick uploads."""

    @property
    def learns(self) -> bool:
        """Whether what it does depends on times that it measured before."""
        limits = (self.max_delay_s, self.min_saving_s)
        return self.adaptive_blocks or any(limit is not None for limit in limits)

    @property
    def rank(self) -> int:
        """The rank up to which the verifier accepts a token; 0 for its usual rule."""
        rule = None if self.system is None else self.system.acceptance
        return rule.rank if isinstance(rule, Rank) else 0

    @property
    def max_continuation(self) -> int | None:
        """How many tokens the verifier goes on at most; ``None`` for as many as fit."""
        is_recipe = self.system is not None and not self.system.continuation_rule.max_tokens
        return 0 if is_recipe else None


@dataclass(frozen=True)
class Load:
    """Which captions are made."""

    name: str
    length: CaptionLength = CaptionLength.NORMAL
    has_slots: bool = True
    num_tokens: int | None = None
    """Length of captions without slots; ``None`` for one sentence."""


@dataclass(frozen=True)
class VerifierPace:
    """How long the verifier takes at least; 0 for what the model takes."""

    name: str = BUNDLED
    first_token_s: float = 0.0
    step_s: float = 0.0


@dataclass(frozen=True)
class Setting:
    """Captions on one device with one verifier."""

    device: str
    pace: Pace
    load: Load
    verifier: VerifierPace = field(default_factory=VerifierPace)
    time_scale: float = 1.0
    """How many times faster than declared everything runs; times are scaled back."""


def slowed_settings(slowdowns: Sequence[float], lengths: Sequence[CaptionLength]) -> list[Setting]:
    """Return a setting for each slowdown of the device and each length of captions."""
    return [
        Setting(f"{factor:g}x slower" if factor != 1 else "this machine", Slowdown(factor),
                Load(f"{length}", length))
        for length in lengths
        for factor in slowdowns
    ]  # fmt: skip


def paper_settings(time_scale: float, num_tokens: int = PAPER_TOKENS) -> list[Setting]:
    """Return the settings with the paper's device: captions of one sentence and of ``num_tokens``,
    with its verifier and with the bundled one."""
    pace = ReplayedSteps(_DEVICE_FIRST_TOKEN_S, 1 / _DEVICE_TOKENS_PER_S / time_scale)
    papers = VerifierPace(
        PAPER, _VERIFIER_FIRST_TOKEN_S / time_scale, 1 / _VERIFIER_TOKENS_PER_S / time_scale
    )
    loads = (
        Load("one sentence", has_slots=False),
        Load(f"{num_tokens} tokens", has_slots=False, num_tokens=num_tokens),
    )
    return [
        Setting(PAPER, pace, load, verifier, time_scale)
        for load in loads
        for verifier in (papers, VerifierPace())
    ]


def selected_systems(names: Sequence[str] | None) -> set[str]:
    """Return the systems to run; the drafter alone always is, since all are compared with it.
    Raises :class:`EvaluationError` for an unknown name."""
    unknown = sorted(set(names or ()) - set(SYSTEMS))
    if unknown:
        raise EvaluationError(f"--system: no {unknown[0]!r}; there are: {'; '.join(SYSTEMS)}")
    return {*(names or SYSTEMS), ALONE}


def systems_for(load: Load, threshold: float) -> list[LinkSystem]:
    """Return the systems for captions with or without slots. Without them UGSD asks from
    ``threshold`` on, and wherever the verifier is expected to end the caption sooner."""
    first_only = 1
    alone = LinkSystem(ALONE, System(ALONE, None))
    recipe = LinkSystem(RECIPE, baselines.paper_recipe(RECIPE, _PAPERS_OWN))
    yardsticks = [
        LinkSystem(SPLIT_EMBEDDING, upload=Upload.EMBEDDING),
        LinkSystem(SPLIT_MEL, upload=Upload.MEL),
    ]
    if load.has_slots:
        return [
            alone,
            LinkSystem(UGSD, System(UGSD, None)),
            LinkSystem(UGSD_HIDDEN, System(UGSD_HIDDEN, None), max_delay_s=0.0),
            LinkSystem(EVERY_BLOCK, System(EVERY_BLOCK, AlwaysEscalate)),
            LinkSystem(WAITING, System(WAITING, AlwaysEscalate), drafts_on=False),
            LinkSystem(CLAUSE, baselines.first_token(CLAUSE), first_only),
            recipe,
            *yardsticks,
        ]
    to_the_end = System(END, None, block_unit=BlockUnit.TOKENS)
    end = LinkSystem(END, to_the_end, threshold=threshold, min_saving_s=_MIN_SAVING_S)
    everything = LinkSystem(EVERYTHING, baselines.first_token(EVERYTHING), first_only)
    if load.num_tokens is not None:  # acceptance says nothing of words that were made for length
        return [alone, end, everything, *yardsticks]

    def every(name: str) -> System:
        unit, nothing = BlockUnit.TOKENS, Continuation.NOTHING
        return System(name, AlwaysEscalate, block_unit=unit, continuation=nothing)

    return [
        alone,
        end,
        LinkSystem(EVERY_BLOCK, every(EVERY_BLOCK)),
        LinkSystem(WAITING, every(WAITING), drafts_on=False),
        LinkSystem(ADAPTIVE, every(ADAPTIVE), adaptive_blocks=True),
        everything,
        recipe,
        *yardsticks,
    ]
