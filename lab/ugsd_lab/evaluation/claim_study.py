"""Captions the clips of corpora in each length, and judges what the captions claim.

Each speaker has a profile, which every clip updates, as on a device with one user. Clips come in
the order of :func:`~ugsd_lab.training.profiles.in_recording_order`, and each length begins with
empty profiles, so that every length sees the same history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ugsd_sdk.attributes.attributes import Attributes
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.prosody.prosody import Prosody

from ugsd_lab.data.corpora import Clip, read_samples
from ugsd_lab.data.prosody import Measures
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation.claim_truth import LevelBorders, Truth, label_truth, recording_truth
from ugsd_lab.evaluation.claims import (
    CLAIMS,
    ClaimShare,
    chance_precision,
    checked_claims,
    claim_share,
    recalled_facts,
    stated_values,
)
from ugsd_lab.evaluation.emotion_calibration import (
    AROUSAL_SIGN,
    VALENCE_SIGN,
    Correlation,
    EmotionCalibration,
    emotion_calibration,
    sign_correlation,
)
from ugsd_lab.evaluation.independent_prosody import independent_prosody
from ugsd_lab.evaluation.relation_truth import previous_truth, profile_truth
from ugsd_lab.evaluation.wording import WordingVariety, wording_variety
from ugsd_lab.training.profiles import in_recording_order

if TYPE_CHECKING:
    from ugsd_lab.models.embeddings import Progress

__all__ = [
    "ALL_CORPORA",
    "CaptionSource",
    "CaptionedClip",
    "ClaimStudy",
    "captioned_clips",
    "clips_of",
    "independent_prosodies",
    "study_of",
    "truths",
]

ALL_CORPORA = ALL_LENGTHS = "all"
"""The name of the row over all corpora, and over all lengths."""


class MadeCaption(Protocol):
    """A caption with its attributes."""

    @property
    def text(self) -> str: ...
    @property
    def attributes(self) -> Attributes: ...


class CaptionSource(Protocol):
    """What makes captions: :class:`ugsd_sdk.Captioner`."""

    def caption(
        self, clip: Path, /, *, profile: Profile, length: CaptionLength, seed: int
    ) -> MadeCaption: ...


@dataclass(frozen=True)
class CaptionedClip:
    """A caption of one clip in one length, and what it may claim."""

    clip: Clip
    length: CaptionLength
    text: str
    attributes: Attributes
    truth: Truth

    @property
    def speaker(self) -> str:
        """The speaker's name across corpora."""
        return f"{self.clip.corpus}/{self.clip.speaker}"


@dataclass(frozen=True)
class ClaimStudy:
    """The results. Every mapping over corpora has a row :data:`ALL_CORPORA` if there are
    several."""

    clips: Mapping[str, int]
    """Corpus -> number of clips."""
    precision: Mapping[str, Mapping[str, Mapping[str, ClaimShare]]]
    """Length -> slot -> corpus."""
    chance: Mapping[str, Mapping[str, float]]
    """Length -> slot, over all corpora: the precision of claims about a recording at random."""
    recall: Mapping[str, Mapping[str, ClaimShare]]
    """Length -> slot, over all corpora."""
    wording: Mapping[str, WordingVariety]
    """By length, and of all together."""
    calibration: Mapping[str, EmotionCalibration]
    """By corpus."""
    valence: Mapping[str, Correlation]
    arousal: Mapping[str, Correlation]


def clips_of(clips: Sequence[Clip], split: str, limit: int | None) -> list[Clip]:
    """Return the clips of ``split``: of each speaker the first ``limit`` in recording order.
    Raises :class:`EvaluationError` without any."""
    counts: Counter[tuple[str, str]] = Counter()
    kept: set[int] = set()
    of_split = [clip for clip in clips if clip.split == split]
    for index in in_recording_order(of_split):
        speaker = _speaker(of_split[index])
        counts[speaker] += 1
        if limit is None or counts[speaker] <= limit:
            kept.add(index)
    if not kept:
        raise EvaluationError(f"no clips of split {split!r}: name another --split or --data")
    return [clip for index, clip in enumerate(of_split) if index in kept]


def independent_prosodies(
    clips: Sequence[Clip], measures: Mapping[str, Measures], progress: Progress
) -> dict[str, Prosody | None]:
    """Return the independently measured prosody by clip id."""
    found: dict[str, Prosody | None] = {}
    for done, clip in enumerate(clips, 1):
        found[clip.id] = independent_prosody(read_samples(clip), measures[clip.id])
        progress("checking prosody", done, len(clips), "")
    return found


def truths(
    clips: Sequence[Clip], prosodies: Mapping[str, Prosody | None], borders: LevelBorders
) -> dict[str, Truth]:
    """Return what captions may claim, by clip id, if each speaker's clips are captioned in
    recording order."""
    found: dict[str, Truth] = {}
    earlier: list[Prosody] = []
    before: Clip | None = None
    for index in in_recording_order(clips):
        clip = clips[index]
        if before is not None and _speaker(before) != _speaker(clip):
            earlier, before = [], None
        prosody = prosodies[clip.id]
        found[clip.id] = {
            **label_truth(clip),
            **recording_truth(prosody, borders, clip.gender),
            Slot.PROFILE: profile_truth(prosody, earlier),
            Slot.PREVIOUS: previous_truth(
                prosody,
                clip.emotion,
                None if before is None else (prosodies[before.id], before.emotion),
            ),
        }
        earlier += [] if prosody is None else [prosody]
        before = clip
    return found


def _speaker(clip: Clip) -> tuple[str, str]:
    return clip.corpus, clip.speaker


def captioned_clips(
    source: CaptionSource,
    clips: Sequence[Clip],
    truth: Mapping[str, Truth],
    progress: Progress,
    *,
    lengths: Sequence[CaptionLength] = tuple(CaptionLength),
    seed: int = 0,
) -> list[CaptionedClip]:
    """Caption every clip in each of the ``lengths``."""
    out: list[CaptionedClip] = []
    order = in_recording_order(clips)
    for length in lengths:
        profiles: dict[tuple[str, str], Profile] = {}
        for index in order:
            clip = clips[index]
            profile = profiles.setdefault(_speaker(clip), Profile())
            made = source.caption(clip.path, profile=profile, length=length, seed=seed)
            out.append(CaptionedClip(clip, length, made.text, made.attributes, truth[clip.id]))
            progress("captioning", len(out), len(lengths) * len(clips), length)
    return out


def study_of(captions: Sequence[CaptionedClip]) -> ClaimStudy:
    """Judge ``captions``. Emotion, valence and arousal do not depend on the length and are taken
    from the first one. Raises :class:`EvaluationError` without any."""
    if not captions:
        raise EvaluationError("no captions to judge: name another --split or --data")
    lengths = list(dict.fromkeys(caption.length for caption in captions))
    by_length = {name: [c for c in captions if c.length == name] for name in lengths}
    first = _by_corpus(by_length[lengths[0]])
    labelled = {
        corpus: [(c, c.clip.emotion) for c in own if c.clip.emotion is not None]
        for corpus, own in first.items()
    }
    return ClaimStudy(
        clips={corpus: len(own) for corpus, own in first.items()},
        precision={
            length: _shares_by_corpus(own, lambda c: checked_claims(_stated(c), c.truth))
            for length, own in by_length.items()
        },
        chance={
            length: chance_precision([_stated(c) for c in own], [c.truth for c in own])
            for length, own in by_length.items()
        },
        recall={
            length: _shares(own, lambda c: recalled_facts(_stated(c), c.truth))
            for length, own in by_length.items()
        },
        wording={
            **{n: wording_variety([c.text for c in own]) for n, own in by_length.items()},
            ALL_LENGTHS: wording_variety([c.text for c in captions]),
        },
        calibration={
            corpus: emotion_calibration(
                [c.attributes.emotion.distribution for c, _ in own], [label for _, label in own]
            )
            for corpus, own in labelled.items()
        },
        valence=_correlations(labelled, lambda found: found.valence, VALENCE_SIGN),
        arousal=_correlations(labelled, lambda found: found.arousal, AROUSAL_SIGN),
    )


def _stated(caption: CaptionedClip) -> dict[str, str]:
    return stated_values(caption.attributes)


_Judge = Callable[[CaptionedClip], Mapping[str, bool]]


def _shares(captions: Iterable[CaptionedClip], judge: _Judge) -> dict[str, ClaimShare]:
    speakers: dict[str, list[str]] = {name: [] for name in CLAIMS}
    outcomes: dict[str, list[bool]] = {name: [] for name in CLAIMS}
    for caption in captions:
        for name, outcome in judge(caption).items():
            speakers[name].append(caption.speaker)
            outcomes[name].append(outcome)
    return {name: claim_share(speakers[name], outcomes[name]) for name in CLAIMS}


def _shares_by_corpus(
    captions: Sequence[CaptionedClip], judge: _Judge
) -> dict[str, dict[str, ClaimShare]]:
    shares = {corpus: _shares(own, judge) for corpus, own in _by_corpus(captions).items()}
    return {name: {corpus: own[name] for corpus, own in shares.items()} for name in CLAIMS}


def _by_corpus(captions: Sequence[CaptionedClip]) -> dict[str, list[CaptionedClip]]:
    found: dict[str, list[CaptionedClip]] = {}
    for caption in captions:
        found.setdefault(caption.clip.corpus, []).append(caption)
    if len(found) > 1:
        found[ALL_CORPORA] = list(chain.from_iterable(found.values()))
    return found


def _correlations(
    labelled: Mapping[str, Sequence[tuple[CaptionedClip, str]]],
    value: Callable[[Attributes], float | None],
    signs: Mapping[str, int],
) -> dict[str, Correlation]:
    return {
        corpus: sign_correlation(
            [c.speaker for c, _ in own],
            [value(c.attributes) for c, _ in own],
            [label for _, label in own],
            signs,
        )
        for corpus, own in labelled.items()
    }
