"""What leaves under given settings and what attackers got from it, in words for its user."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.errors import LeakageNotMeasured
from ugsd_privacy.protocol.channel import TrafficShape
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reports.leakage import UNENROLLED, Leakage, LeakageFigure

from ugsd_sdk.captioner import BUNDLED
from ugsd_sdk.decoding.risk_controlled import RiskControlledPolicy
from ugsd_sdk.drafter.onnx import state_dim_of, weights_of
from ugsd_sdk.settings.config import Settings

__all__ = ["Explanation", "explain"]

_WIDTH = 78
_TRAFFIC = "traffic"
_FEW = 2
_MOST_PRIVATE = 10
"""Epsilon above which a bound is called noise."""
_DEFAULT_ACQUAINTANCE: int = Settings.model_fields["min_enrolment"].default

_NEVER = (
    "the recording, its spectrogram, or what the ears heard of it",
    "your user name, file names and the time",
    "how your voice usually sounds, and any word for a woman's or a man's voice",
)
_STATES = {
    Disclosure.TOKENS: "no numbers about the clip",
    Disclosure.SUMMARY: "once per caption, {dim} numbers about the clip",
    Disclosure.BLOCK_STATES: "for each of these words, {dim} numbers about the clip",
    Disclosure.ALL_STATES: "for each of these words, {dim} numbers about the clip",
}
_GUESSED: Mapping[str, str] = {
    "identification": "which of a few people is speaking, ten captions of each being known",
    "EER": "whether two captions are of one person",
    "EER, same gender": "whether two captions of one gender are of one person",
    "EER, enrolled": "whether a caption is of a person of whom ten are known",
    "EER, sets": "whether ten captions and ten others are of one person",
    "gender": "whether the voice is a woman's or a man's",
    "age group": "whether the speaker is older or younger",
    "language": "which language is spoken",
    "sentence": "which of a known list of sentences was spoken",
    "facts drafted, not sent": "what the draft says of the voice in words that stayed here",
    "escalated": "for an observer of the network, whether a caption was escalated",
    "emotion": "for an observer of the network, which emotion",
}
"""What is told of each measure; the others are for specialists."""
_PACE = (
    "In constant shape that holds of a verifier that keeps a pace, 400 ms when measured "
    "(`reply_after_ms`); one that answers at once shows by its haste what was a cover."
)


@dataclass(frozen=True)
class Explanation:
    """Sections of plain sentences."""

    settings: Mapping[str, str]
    sent: tuple[str, ...]
    never_sent: tuple[str, ...]
    noise_guarantee: tuple[str, ...]
    """What noise guarantees, with epsilon, delta, unit and relation, or that nothing does."""
    attacker_results: tuple[str, ...]
    """What attackers got, or that nobody measured it."""
    source: str

    def as_dict(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)

    def text(self) -> str:
        """For a terminal."""
        chosen = ", ".join(f"{name} = {value}" for name, value in self.settings.items())
        return "\n\n".join(
            [
                _wrapped(f"With these settings ({chosen}):"),
                _list("What leaves this device, when it is unsure of a caption:", self.sent),
                _list("What never leaves it:", self.never_sent),
                _list("What noise guarantees of the numbers about the clip:", self.noise_guarantee),
                _list("What attackers got from it:", self.attacker_results),
                _wrapped(self.source),
            ]
        )


def explain(settings: Settings, drafter: str) -> Explanation:
    """Of a drafter by name or folder. Raises :class:`ModelError` where there is none, and
    :class:`ConfigError` where the settings ask of it a target that cannot be reached."""
    folder = Path(__file__).parents[1] / drafter if drafter in BUNDLED else Path(drafter)
    asked, minimum = settings, RiskControlledPolicy.from_settings(settings, folder)
    if minimum is not None:  # then the setting is only a ceiling
        settings = settings.model_copy(update={"disclosure": minimum.chosen.disclosure})
    learnt, source = _learnt(folder, settings)
    return Explanation(
        settings={
            "verifier": settings.verifier.url or "none",
            **_target(asked, minimum),
            "disclosure": str(settings.disclosure),
            "shape": str(settings.traffic_shape),
            "acquaintance": str(settings.min_enrolment),
            "noise": "none" if settings.sigma is None else f"sigma {settings.sigma:.3g}",
        },
        sent=_leaves(settings, state_dim_of(folder)),
        never_sent=_NEVER,
        noise_guarantee=_bound(settings),
        attacker_results=learnt,
        source=source,
    )


def _target(settings: Settings, minimum: RiskControlledPolicy | None) -> dict[str, str]:
    """What was asked for, and the threshold chosen for it."""
    if minimum is None:
        return {}
    name = "target_gain" if settings.target_risk is None else "target_risk"
    return {
        name: f"{getattr(settings, name):g}",
        "most to disclose": str(settings.disclosure),
        "threshold": f"{minimum.chosen.threshold:g}",
    }


def _leaves(settings: Settings, dim: int) -> tuple[str, ...]:
    if settings.verifier.url is None:
        return ("nothing: no verifier is set",)
    constant = settings.traffic_shape is TrafficShape.CONSTANT
    seen = (
        "for an observer of the network, one frame of one size for every caption, and when"
        if constant
        else "for an observer of the network, that, when and how often it was unsure"
    )
    first = (
        f"none of the numbers before {settings.min_enrolment} clips of you were heard"
        if settings.min_enrolment and settings.disclosure is not Disclosure.TOKENS
        else ""
    )
    words = (
        "the words drafted so far, the whole doubtful block included"
        if settings.disclosure is Disclosure.TOKENS
        else "the words drafted so far, up to the first doubtful one"
    )
    lines = (
        f"{words}, as numbers of a word list",
        _STATES[settings.disclosure].format(dim=dim),
        first,
        seen,
        "for the verifier, your network address, and which captions are of one session",
    )
    return tuple(line for line in lines if line)


def _bound(settings: Settings) -> tuple[str, ...]:
    limits, sigma, states = settings.limits_for(), settings.sigma, settings.states_per_caption
    if settings.disclosure is Disclosure.TOKENS:
        return ("nothing, and no such numbers leave; the words are never noised",)
    if sigma is None:
        if any(cap.startswith("epsilon") for cap in limits.remaining({})):
            return ("none of them leaves: they have no noise, so a cap on epsilon keeps them in",)
        return ("nothing: they leave without noise",)
    spends = (
        []
        if states is None
        else [dp.privacy_cost(sensitivity=dp.STATE_SENSITIVITY, sigma=sigma, vectors=states)]
    )
    if limits.epsilon_per_caption is not None:
        spends.append(dp.privacy_cost_of_epsilon(limits.epsilon_per_caption, limits.delta))
    if not spends:
        return ("nothing of a whole caption, which may send any number of them: set a cap",)
    bound = Guarantee.from_privacy_cost(min(spends), limits.delta)
    called = {
        "privacy": "a guarantee of privacy",
        "noise": f"above epsilon {_MOST_PRIVATE} that is noise, not privacy",
        "none": "no guarantee",
    }[bound.word]
    return (
        f"{bound.text()}; {called}",
        f"it holds for: {bound.relation}",
        "the words that leave, and when a block does, are not covered",
    )


def _learnt(folder: Path, settings: Settings) -> tuple[tuple[str, ...], str]:
    if settings.verifier.url is None:
        return ("nothing",), "Name a verifier in the settings to see what it would learn."
    try:
        leakage = Leakage.load(folder, weights_of(folder))
    except LeakageNotMeasured as error:
        return ("nobody measured it",), str(error)
    of_states = [leak for leak in leakage.leaks if _applies(leak, settings)]
    of_traffic = leakage.of(_TRAFFIC, [str(settings.traffic_shape)])
    told = list(map(_sentence, _strongest([*of_states, *of_traffic])))
    if not of_states:
        told.insert(0, "of the words and numbers: not measured under these settings")
    source = (
        f"Measured by `{leakage.command}` on speakers that neither the drafter nor the attackers "
        "had heard, the strongest attacker each time. A better one may get more."
    )
    if settings.sigma is not None:
        source += " The figures are of numbers without noise; with it, nobody measured."
    constant = settings.traffic_shape is TrafficShape.CONSTANT
    return tuple(told), f"{source} {_PACE}" if constant else source


def _strongest(leaks: Sequence[LeakageFigure]) -> list[LeakageFigure]:
    """Of each attack the corpus that it did best on; two people tell little of others, so only
    where nobody else was attacked."""
    best: dict[tuple[str, str], LeakageFigure] = {}
    for leak in sorted(leaks, key=lambda leak: (leak.speakers > _FEW, leak.advantage)):
        if leak.measure in _GUESSED:
            best[leak.attack, leak.measure] = leak
    return [leak for leak in leaks if leak in best.values()]


def _applies(leak: LeakageFigure, settings: Settings) -> bool:
    """Whether the figure is of these settings: of voices that are known when states leave, or of
    strangers' where those may leave from the first clip on. What lies between was not measured."""
    if leak.attack == _TRAFFIC or leak.seen != settings.disclosure:
        return False
    if settings.disclosure is Disclosure.TOKENS or not leak.habit:
        return True
    if leak.habit == UNENROLLED:
        return settings.min_enrolment == 0
    return settings.min_enrolment >= _DEFAULT_ACQUAINTANCE


def _sentence(leak: LeakageFigure) -> str:
    what = f"{_GUESSED[leak.measure]} ({leak.corpus}, {leak.speakers} speakers)"
    verb = "wrong" if leak.is_error_rate else "right"
    told = f"{what}: {verb} {_hundred(leak.value)}, guessing {_hundred(leak.chance)}"
    if leak.control is None:
        return told
    return f"{told}; from all that the ears heard {_hundred(leak.control)}"


def _hundred(share: float) -> str:
    return f"{100 * share:.0f} times in 100"


def _list(title: str, lines: Sequence[str]) -> str:
    return "\n".join([_wrapped(title), *(_wrapped(line, "  - ") for line in lines)])


def _wrapped(text: str, first: str = "") -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first))
