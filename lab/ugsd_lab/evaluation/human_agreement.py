"""How often a caption's attributes agree with what people wrote about the same recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.profile.profile import Profile

from ugsd_lab.data.human_captions import HumanCaption
from ugsd_lab.data.human_lexicon import HUMAN_LEXICON, attributes_described, voice_part
from ugsd_lab.evaluation.claim_study import CaptionSource
from ugsd_lab.evaluation.claims import stated_values

if TYPE_CHECKING:
    from ugsd_lab.models.embeddings import Progress

__all__ = ["HumanAgreement", "human_agreement"]


@dataclass(frozen=True)
class HumanAgreement:
    """The agreement on one attribute."""

    attribute: str
    described: int
    """Texts that name a value of it."""
    compared: int
    """Those whose caption states a value of it too, other than a moderate one."""
    agreement: float
    """Share of these captions whose value the text names; NaN without any."""
    most_frequent: float
    """The same share for a caption that always states the value that the texts name most often."""


def human_agreement(
    source: CaptionSource,
    captions: Sequence[HumanCaption],
    progress: Progress,
    *,
    length: CaptionLength = CaptionLength.NORMAL,
    seed: int = 0,
) -> list[HumanAgreement]:
    """Caption the recordings, each as the first of an unknown speaker, and compare the attributes
    with those that the texts describe by :data:`~ugsd_lab.data.human_lexicon.HUMAN_LEXICON`."""
    pairs: dict[str, list[tuple[str | None, frozenset[str]]]] = {name: [] for name in HUMAN_LEXICON}
    for done, human in enumerate(captions, 1):
        made = source.caption(human.path, profile=Profile(), length=length, seed=seed)
        stated = stated_values(made.attributes)
        for name, described in attributes_described(voice_part(human.text)).items():
            value = stated.get(name)
            pairs[name].append((value if value in HUMAN_LEXICON[name] else None, described))
        progress("people's captions", done, len(captions), "")
    return [_agreement(name, own) for name, own in pairs.items()]


def _agreement(name: str, pairs: Sequence[tuple[str | None, frozenset[str]]]) -> HumanAgreement:
    compared = [(value, described) for value, described in pairs if value is not None]
    counts = Counter(value for _, described in compared for value in described)
    agreed = sum(value in described for value, described in compared)
    return HumanAgreement(
        attribute=name,
        described=len(pairs),
        compared=len(compared),
        agreement=agreed / len(compared) if compared else float("nan"),
        most_frequent=max(counts.values()) / len(compared) if compared else float("nan"),
    )
