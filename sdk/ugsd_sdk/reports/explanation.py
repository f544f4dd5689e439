"""What is sent with given settings and what attackers learnt from it, in words for users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.errors import LeakageNotMeasured
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_privacy.reports.leakage import UNENROLLED, Leakage, LeakageFigure

from ugsd_sdk.decoding.risk_controlled import RiskControlledPolicy
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.drafter.bundle import DrafterBundle
from ugsd_sdk.errors import ModelError
from ugsd_sdk.reports.wrapped_text import titled_list, wrapped
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.settings.verification import BlockUnit

__all__ = ["Explanation", "explain"]

_TRAFFIC = "traffic"
_FEW = 2
_MOST_PRIVATE = 10
"""Epsilon above which a guarantee is called noise."""
_DEFAULT_ENROLMENT: int = Settings.model_fields["min_enrolment"].default

_NO_VERIFIER = "no such numbers are sent: no verifier is set"

_NEVER = (
    "the recording, its spectrogram, or the audio embedding",
    "your user name, file names and the time",
    "how your voice usually sounds, and any word for a woman's or a man's voice",
)
_STATES = {
    Disclosure.TOKENS: "no numbers about the clip",
    Disclosure.SUMMARY: "once per caption, {dim} numbers about the clip",
    Disclosure.BLOCK_STATES: "for each of these words, {dim} numbers about the clip",
    Disclosure.ALL_STATES: "for each of these words, {dim} numbers about the clip",
    Disclosure.DISTRIBUTIONS: "once per caption, {dim} numbers about the clip, and how likely the "
    "device finds each emotion",
}
_GUESSED: Mapping[str, str] = {
    "identification": "which of a few people is speaking, if ten captions of each are known",
    "EER": "whether two captions are of the same person",
    "EER, same gender": "whether two captions of the same gender are of the same person",
    "EER, enrolled": "whether a caption is of a person of whom ten captions are known",
    "EER, sets": "whether ten captions and ten others are of the same person",
    "gender": "whether the voice is a woman's or a man's",
    "age group": "whether the speaker is older or younger",
    "language": "which language is spoken",
    "sentence": "which of a known list of sentences was spoken",
    "facts drafted, not sent": "what the draft says about the voice in words that were not sent",
    "escalated": "for an observer of the network, whether a caption was escalated",
    "emotion": "for an observer of the network, which emotion",
}
"""What the attacker guesses, for each reported measure; other measures are for specialists."""
_PACE = (
    "In constant shape this holds for a verifier that answers at a fixed pace (`reply_after_ms`; "
    "400 ms when measured). A verifier that answers at once reveals which frames are covers."
)


@dataclass(frozen=True)
class Explanation:
    """The explanation, in sections of plain sentences."""

    settings: Mapping[str, str]
    sent: tuple[str, ...]
    never_sent: tuple[str, ...]
    noise_guarantee: tuple[str, ...]
    """What noise guarantees, with epsilon, delta, unit and relation, if anything."""
    attacker_results: tuple[str, ...]
    """What attackers learnt, or that it was not measured."""
    source: str

    def as_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)

    def text(self) -> str:
        """Return the explanation as text for a terminal."""
        return "\n\n".join(
            [
                wrapped(f"With these settings ({self.settings_text()}):"),
                titled_list("What is sent when the device asks about a caption:", self.sent),
                titled_list("What is never sent:", self.never_sent),
                titled_list(
                    "What noise guarantees for the numbers about the clip:", self.noise_guarantee
                ),
                titled_list("What attackers learnt from it:", self.attacker_results),
                wrapped(self.source),
            ]
        )

    def settings_text(self, *, without: str = "") -> str:
        """Return the settings by the names that the settings file uses."""
        return ", ".join(
            f"{name} = {value}" for name, value in self.settings.items() if name != without
        )


def explain(settings: Settings, drafter: str) -> Explanation:
    """Explain the settings with the drafter of this name or folder.

    Raises :class:`ModelError` if there is no such drafter, and :class:`ConfigError` if it cannot
    reach the target in the settings.
    """
    bundle = DrafterBundle.of(drafter)
    given, policy = settings, RiskControlledPolicy.from_settings(settings, bundle.folder)
    if policy is not None:  # with a target the setting is only an upper limit
        settings = settings.model_copy(update={"disclosure": policy.chosen.disclosure})
    results, source = _attacker_results(bundle, settings)
    return Explanation(
        settings={
            "verifier": settings.verifier.url or "none",
            **(_what_decides(given, bundle) if policy is None else _target(given, policy)),
            "disclosure": str(settings.disclosure),
            "block_unit": str(settings.block_unit),
            "verification": str(settings.verification),
            "traffic_shape": str(settings.traffic_shape),
            "min_enrolment": str(settings.min_enrolment),
            "min_enrolment_s": f"{settings.min_enrolment_s:g}",
            "noise": "none" if settings.sigma is None else f"sigma {settings.sigma:.3g}",
        },
        sent=_sent(settings, bundle.description().state_dim),
        never_sent=_NEVER,
        noise_guarantee=_noise_guarantee(settings),
        attacker_results=results,
        source=source,
    )


def _what_decides(settings: Settings, bundle: DrafterBundle) -> dict[str, str]:
    """Return ``min_gain`` or ``threshold``, whichever decides without a target; nothing for a
    drafter whose predictor cannot be read, since then it makes no captions either."""
    if settings.threshold is not None:
        return {"threshold": f"{settings.threshold:g}"}
    try:
        predictor = RejectionPredictor.load(bundle.rejection_predictor_file)
    except ModelError:
        return {}
    if settings.block_unit is BlockUnit.TOKENS or not predictor.has_gain:
        return {"threshold": f"{predictor.threshold:.3g}"}
    return {"min_gain": f"{settings.min_gain or 0:g}"}


def _target(settings: Settings, policy: RiskControlledPolicy) -> dict[str, str]:
    """Return the requested target, and the threshold that was chosen for it."""
    name = "target_gain" if settings.target_risk is None else "target_risk"
    return {
        name: f"{getattr(settings, name):g}",
        "most to disclose": str(settings.disclosure),
        "threshold": f"{policy.chosen.threshold:g}",
    }


def _words(settings: Settings) -> str:
    if settings.block_unit is BlockUnit.SLOT:
        return "the first words of the caption, up to the one that names the emotion"
    if settings.disclosure is Disclosure.TOKENS:
        return "the words drafted so far of the emotion, including the whole uncertain block"
    return "the words drafted so far of the emotion, up to the first uncertain one"


def _sent(settings: Settings, dim: int) -> tuple[str, ...]:
    if settings.verifier.url is None:
        return ("nothing: no verifier is set",)
    constant = settings.traffic_shape is TrafficShape.CONSTANT
    seen = (
        "visible to the network: one frame of one size for every caption, and when"
        if constant
        else "visible to the network: that the device asked, when and how often"
    )
    needs_enrolment = settings.min_enrolment and settings.disclosure is not Disclosure.TOKENS
    first = (
        f"none of the numbers before {settings.min_enrolment} clips have enrolled you, and none at "
        "all of captions without a user's name or a profile"
        if needs_enrolment
        else ""
    )
    lines = (
        f"{_words(settings)}, as numbers of a word list",
        _STATES[settings.disclosure].format(dim=dim),
        first,
        seen,
        "visible to the verifier: your network address, and which captions are of one session",
    )
    return tuple(line for line in lines if line)


def _without_noise(settings: Settings) -> str:
    if any(cap.startswith("epsilon") for cap in settings.limits_for().remaining({})):
        return "none of them is sent: without noise the cap on epsilon blocks them"
    if settings.noise is not None:
        return "no bound: how likely the emotions are is sent without noise"
    return "nothing: they are sent without noise"


def _noise_guarantee(settings: Settings) -> tuple[str, ...]:
    if settings.verifier.url is None:
        return (_NO_VERIFIER,)
    limits, sigma, states = settings.limits_for(), settings.sigma, settings.states_per_caption
    if settings.disclosure is Disclosure.TOKENS:
        return ("nothing, but no such numbers are sent; words never have noise",)
    if sigma is None or settings.disclosure is Disclosure.DISTRIBUTIONS:
        return (_without_noise(settings),)
    costs = (
        []
        if states is None
        else [dp.privacy_cost(sensitivity=dp.STATE_SENSITIVITY, sigma=sigma, vectors=states)]
    )
    if limits.epsilon_per_caption is not None:
        costs.append(dp.privacy_cost_of_epsilon(limits.epsilon_per_caption, limits.delta))
    if not costs:
        return ("nothing for a whole caption, which may send any number of them: set a cap",)
    guarantee = Guarantee.from_privacy_cost(min(costs), limits.delta)
    called = {
        "privacy": "a guarantee of privacy",
        "noise": f"above epsilon {_MOST_PRIVATE} this is noise, not privacy",
        "none": "no guarantee",
    }[guarantee.label]
    return (
        f"{guarantee.text()}; {called}",
        f"it holds for: {guarantee.relation}",
        "it does not cover which words are sent, and when a block is",
    )


def _attacker_results(bundle: DrafterBundle, settings: Settings) -> tuple[tuple[str, ...], str]:
    if settings.verifier.url is None:
        return (_NO_VERIFIER,), "Set a verifier to see what it would learn."
    try:
        leakage = Leakage.load(bundle.folder, bundle.weights())
    except LeakageNotMeasured as error:
        return ("not measured",), str(error)
    of_states = [leak for leak in leakage.leaks if _applies(leak, settings)]
    of_traffic = leakage.of(_TRAFFIC, [str(settings.traffic_shape)])
    results = list(map(_sentence, _strongest([*of_states, *of_traffic])))
    if not of_states:
        results.insert(0, "from the words and numbers: not measured with these settings")
    source = (
        f"Measured by `{leakage.command}` on speakers unknown to drafter and attackers, with the "
        "strongest attacker each time. A better attacker may learn more."
    )
    if settings.sigma is not None:
        source += " The figures are for numbers without noise; with noise it was not measured."
    constant = settings.traffic_shape is TrafficShape.CONSTANT
    return tuple(results), f"{source} {_PACE}" if constant else source


def _strongest(leaks: Sequence[LeakageFigure]) -> list[LeakageFigure]:
    """Return for each attack the corpus with the best result. A corpus of two speakers is used only
    if there is no other, because it says little about other people."""
    best: dict[tuple[str, str], LeakageFigure] = {}
    for leak in sorted(leaks, key=lambda leak: (leak.speakers > _FEW, leak.advantage)):
        if leak.measure in _GUESSED:
            best[leak.attack, leak.measure] = leak
    return [leak for leak in leaks if leak in best.values()]


def _applies(leak: LeakageFigure, settings: Settings) -> bool:
    """Whether the figure was measured with these settings: with enrolled speakers, or with
    unenrolled ones if states may be sent from the first clip on. Nothing between was measured."""
    if leak.attack == _TRAFFIC or leak.seen != settings.disclosure:
        return False
    if settings.disclosure is Disclosure.TOKENS or not leak.profile:
        return True
    if leak.profile == UNENROLLED:
        return settings.min_enrolment == 0
    return settings.min_enrolment >= _DEFAULT_ENROLMENT


def _sentence(leak: LeakageFigure) -> str:
    what = f"{_GUESSED[leak.measure]} ({leak.corpus}, {leak.speakers} speakers)"
    verb = "wrong" if leak.is_error_rate else "right"
    result = f"{what}: {verb} {_hundred(leak.value)}, by guessing {_hundred(leak.chance)}"
    if leak.control is None:
        return result
    return f"{result}; from the whole audio embedding {_hundred(leak.control)}"


def _hundred(share: float) -> str:
    times = f"{100 * share:.0f}"
    return f"{times} {'time' if times == '1' else 'times'} in 100"
