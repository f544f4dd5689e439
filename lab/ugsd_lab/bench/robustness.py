"""``ugsd-lab bench robustness``: whether captions depend on what is not the voice.

Each test clip is captioned as recorded and under each of
:data:`~ugsd_lab.bench.conditions.CONDITIONS`, by the drafter alone: with the speaker profile that
the speaker's earlier clips gave, and without one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from ugsd_sdk.caption import NO_SPEECH, Caption
from ugsd_sdk.profile.matching import ProfileMatch, match_profile
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE
from ugsd_sdk.speech.reader import SpeechDetector

from ugsd_lab.bench.conditions import CONDITIONS, PLAIN, Condition, altered
from ugsd_lab.bench.gibberish import gibberish_in
from ugsd_lab.bench.profiled_captioner import ConditioningDrafter, ProfiledCaptioner
from ugsd_lab.data.corpora import Clip, read_samples
from ugsd_lab.data.lexicon import attributes_named
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation.intervals import draws, interval, share_measure
from ugsd_lab.evaluation.study import limited
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.tables import TextTable
from ugsd_lab.training.profiles import MIN_ENROLMENT, in_recording_order

__all__ = ["Gibberish", "Robustness", "RobustnessRow", "bench_robustness", "notes", "tables"]

_PROFILES = {True: "with speaker profile", False: "without speaker profile"}
_EXAMPLES = 5


@dataclass(frozen=True)
class RobustnessRow:
    """The captions of a corpus under one condition."""

    corpus: str
    profile: bool
    """Whether captions are those of an enrolled speaker."""
    condition: str
    clips: int
    speakers: int
    emotion: float
    """Share of captions that name the right emotion and no other."""
    emotion_interval: tuple[float, float]
    """95 %, bootstrapped over speakers."""
    difference: float
    """From the plain clips' captions."""
    difference_interval: tuple[float, float]
    same_emotion: float
    """Share of captions that name the same emotion as the plain clip's caption."""
    no_speech: int
    """Captions that say that there is no speech."""
    gibberish: int
    goal: str
    is_met: bool | None
    """``None`` without a goal."""


@dataclass(frozen=True)
class Gibberish:
    """A caption that is gibberish."""

    clip: str
    profile: bool
    condition: str
    what: str
    text: str


@dataclass(frozen=True)
class Robustness:
    """Results of all corpora, and every caption that is gibberish."""

    rows: Sequence[RobustnessRow]
    gibberish: Sequence[Gibberish]
    captions: int

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return asdict(self)


_Captions = Mapping[tuple[str, bool, str], Caption]
"""By clip, whether there is a profile, and condition."""


def bench_robustness(
    clips: Sequence[Clip],
    drafter: ConditioningDrafter,
    progress: Progress,
    *,
    limit: int | None = None,
    conditions: Sequence[Condition] = CONDITIONS,
    detector: SpeechDetector | None = None,
) -> Robustness:
    """Measure on the labelled clips of test speakers, at most ``limit`` of each after those that
    enrol the speaker. ``conditions`` include :data:`PLAIN`.

    Raises :class:`EvaluationError` if no clips remain.
    """
    labelled = [clip for clip in clips if clip.split == "test" and clip.emotion is not None]
    chosen = limited(labelled, limit)
    if not chosen:
        raise EvaluationError(
            f"no test speaker has more than the {MIN_ENROLMENT} clips that enrolment takes: add "
            "recordings of these speakers"
        )
    ordered = [chosen[index] for index in in_recording_order(chosen)]
    with ProfiledCaptioner(drafter, detector=detector) as captioner:
        captions, scored = _captions(ordered, captioner, conditions, progress)
    found = [
        Gibberish(clip, profile, condition, what, caption.text)
        for (clip, profile, condition), caption in captions.items()
        if (what := gibberish_in(caption)) is not None
    ]
    ids = {clip.id for clip in scored}
    corpora = dict.fromkeys(clip.corpus for clip in chosen if clip.id in ids)
    rows = [
        _row([clip for clip in scored if clip.corpus == corpus], profile, condition, captions)
        for corpus in corpora
        for profile in _PROFILES
        for condition in conditions
    ]
    return Robustness(rows, found, len(captions))


_FITS = (ProfileMatch.NO_PROFILE, ProfileMatch.MATCHED)


def _captions(
    clips: Sequence[Clip],
    captioner: ProfiledCaptioner,
    conditions: Sequence[Condition],
    progress: Progress,
) -> tuple[_Captions, list[Clip]]:
    """Return the captions and the clips that have some: those after their speaker's enrolment."""
    captions: dict[tuple[str, bool, str], Caption] = {}
    scored, speaker, profile = [], None, EMPTY_PROFILE
    for done, clip in enumerate(clips, 1):
        if (clip.corpus, clip.speaker) != speaker:
            speaker, profile = (clip.corpus, clip.speaker), EMPTY_PROFILE
        samples = read_samples(clip)
        is_scored = profile.count >= MIN_ENROLMENT
        for condition in conditions if is_scored else ():
            made = captioner.caption(altered(clip, samples, condition), profile)
            captions[clip.id, True, condition.name] = made.enrolled
            captions[clip.id, False, condition.name] = made.unenrolled
            if condition is PLAIN:
                voice = made.voice
        if is_scored:
            scored.append(clip)
        else:
            voice = captioner.caption(samples, profile).voice
        if voice is not None and match_profile(voice, profile) in _FITS:
            profile = profile.updated(voice)
        progress("captioning", done, len(clips), clip.corpus)
    return captions, scored


def _row(
    clips: Sequence[Clip], profile: bool, condition: Condition, captions: _Captions
) -> RobustnessRow:
    speakers = [clip.speaker for clip in clips]
    own = [captions[clip.id, profile, condition.name] for clip in clips]
    plain = [captions[clip.id, profile, PLAIN.name] for clip in clips]
    named, named_plain = ([_emotions(caption) for caption in some] for some in (own, plain))
    right, right_plain = (
        share_measure(
            speakers,
            [float(names == {clip.emotion}) for clip, names in zip(clips, some, strict=True)],
        )
        for some in (named, named_plain)
    )
    weights = draws(len(set(speakers)))
    difference = right.value - right_plain.value
    changes = right.redrawn(weights) - right_plain.redrawn(weights)
    same = float(np.mean([one == other for one, other in zip(named, named_plain, strict=True)]))
    goal = condition.goal
    return RobustnessRow(
        corpus=clips[0].corpus,
        profile=profile,
        condition=condition.name,
        clips=len(clips),
        speakers=len(set(speakers)),
        emotion=right.value,
        emotion_interval=interval(right.redrawn(weights)),
        difference=difference,
        difference_interval=interval(changes),
        same_emotion=same,
        no_speech=sum(caption.text == NO_SPEECH for caption in own),
        gibberish=sum(gibberish_in(caption) is not None for caption in own),
        goal="" if goal is None else goal.text,
        is_met=None if goal is None else goal.is_met(difference, same),
    )


def _emotions(caption: Caption) -> set[str]:
    return attributes_named(caption.text, "emotion")


def tables(found: Robustness) -> list[TextTable]:
    """Return a table for each corpus with and without speaker profiles, and one of the gibberish in
    all captions."""
    header = (
        "condition", "emotion", "95 %", "change", "95 %", "same", "no speech", "gibberish", "goal",
        "",
    )  # fmt: skip
    out = []
    for corpus, profile in dict.fromkeys((row.corpus, row.profile) for row in found.rows):
        own = [row for row in found.rows if (row.corpus, row.profile) == (corpus, profile)]
        title = (
            f"{corpus}, {_PROFILES[profile]}: {own[0].clips} clips of {own[0].speakers} "
            f"{'speaker' if own[0].speakers == 1 else 'speakers'}"
        )
        out.append(TextTable(header, list(map(_cells, own)), title, left=("condition", "goal", "")))
    total = (
        "all captions", f"{found.captions:,}", str(len(found.gibberish)), "0",
        "missed" if found.gibberish else "met",
    )  # fmt: skip
    return [
        *out,
        TextTable(("", "captions", "gibberish", "goal", ""), [total], "In total", left=("",)),
    ]


def _cells(row: RobustnessRow) -> tuple[str, ...]:
    is_plain = row.condition == PLAIN.name
    low, high = row.emotion_interval
    least, most = row.difference_interval
    return (
        row.condition,
        f"{row.emotion:.2f}",
        f"{low:.2f} to {high:.2f}",
        "" if is_plain else f"{row.difference:+.3f}",
        "" if is_plain else f"{least:+.3f} to {most:+.3f}",
        "" if is_plain else f"{row.same_emotion:.2f}",
        str(row.no_speech),
        str(row.gibberish),
        row.goal,
        {True: "met", False: "missed", None: ""}[row.is_met],
    )


def notes(found: Robustness) -> list[str]:
    """Return what readers of the tables need to know, and some of the gibberish."""
    few = list(dict.fromkeys(row.corpus for row in found.rows if row.speakers <= 2))
    lines = [
        "Emotion: share of captions that name the right emotion and no other. Change: difference "
        "from the plain clips. Same: share that name the same emotion as the plain clip's caption. "
        "95 %: bootstrapped over speakers, paired for changes.",
        "Gibberish: captions that repeat a run of words, are cut at their limit, or do not name "
        "exactly one emotion.",
    ]
    if few:
        lines.append(
            f"{' and '.join(few)}: 2 speakers or fewer. The interval is then the range between "
            "these speakers and says nothing about others."
        )
    lines += [
        f"Gibberish: {one.clip}, {one.condition}, {_PROFILES[one.profile]}: {one.what}: {one.text}"
        for one in found.gibberish[:_EXAMPLES]
    ]
    return lines
