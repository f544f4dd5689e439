"""How a drafter with slots begins a caption: with a guide, and with proposals if it has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import CaptionPlan
from ugsd_sdk.attributes.slots import EMOTIONS
from ugsd_sdk.drafter import ConditionedClip
from ugsd_sdk.drafter.bundle import DrafterDescription
from ugsd_sdk.drafter.clause_guide import CaptionEnd, ClauseGuide
from ugsd_sdk.drafter.guided_session import GuidedDraftSession, Proposer, no_proposals
from ugsd_sdk.drafter.proposals import CaptionProposer, ProposalTable
from ugsd_sdk.drafter.slot_table import SlotTable

__all__ = ["EMOTION_ALONE", "CaptionDrafts", "DecoderRun"]

DecoderRun = Callable[[Mapping[str, NDArray[Any]]], Sequence[NDArray[Any]]]
"""Runs the decoder: maps its named inputs to its outputs (:mod:`ugsd_sdk.drafter.onnx`)."""
EMOTION_ALONE = CaptionPlan(CaptionLength.NORMAL, {})
"""The plan of a clip without one."""


class CaptionDrafts:
    """What all drafts of a drafter have in common."""

    def __init__(
        self,
        description: DrafterDescription,
        pieces: Sequence[str],
        table: SlotTable,
        proposals: ProposalTable | None,
    ) -> None:
        d = description
        self._description = d
        self._table = table
        self._proposals = proposals
        self._end = CaptionEnd.of(table, pieces, d.eos)
        self._stop = np.flatnonzero(self._end.stop)[:1].tolist()
        self._empty_past = np.zeros((d.layers, 2, 1, d.heads, 0, d.head_dim), dtype=np.float32)

    def start(self, clip: ConditionedClip, run: DecoderRun) -> GuidedDraftSession:
        """Return a new draft of a clip, whose decoder is ``run``."""
        plan = clip.plan or EMOTION_ALONE
        emotions = [EMOTIONS[place] for place in np.argsort(clip.decoder_input)[::-1]]
        conditioning = {"emotion": clip.decoder_input[None], "plan": plan.features[None]}
        return GuidedDraftSession(
            lambda tokens, past: run({"tokens": tokens, "past": past, **conditioning}),
            ClauseGuide(plan, self._table, self._end, emotions),
            propose=self._proposer(plan, emotions[0]),
            state=clip.state,
            bos=self._description.bos,
            max_tokens=self._description.max_tokens,
            empty_past=self._empty_past,
        )

    def _proposer(self, plan: CaptionPlan, emotion: str) -> Proposer:
        if self._proposals is None:
            return no_proposals
        return CaptionProposer(
            self._proposals, plan, emotion=emotion, slots=self._table.slots, stop=self._stop
        )
