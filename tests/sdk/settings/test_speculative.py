"""Settings with which speculative verification would not be lossless are refused."""

from __future__ import annotations

from typing import Any

import pytest
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.settings.verification import Verification

LOSSLESS: dict[str, Any] = {"verification": "speculative", "disclosure": "distributions"}


@pytest.mark.parametrize(
    "changes",
    [{}, {"continuation": "nothing"}, {"block_unit": "slot"}, {"noise": {"sigma": 1.0}},
     {"threshold": 0.5}, {"traffic_shape": "constant"}],
)  # fmt: skip
def test_lossless_settings_are_accepted(changes: dict[str, Any]) -> None:
    settings = Settings(**LOSSLESS, **changes)
    assert settings.verification is Verification.SPECULATIVE
    assert settings.disclosure is Disclosure.DISTRIBUTIONS
    assert settings.states_per_caption == 1


@pytest.mark.parametrize(
    ("changes", "key", "advice"),
    [
        ({"disclosure": "summary"}, "verification", "set disclosure = distributions"),
        ({"disclosure": "all_states"}, "verification", "set disclosure = distributions"),
        ({"verification": "verifier"}, "disclosure", "set verification = speculative"),
        ({"block_unit": "tokens"}, "verification", "set block_unit = slot"),
        ({"continuation": "clause"}, "verification", "delete continuation = clause"),
        ({"continuation": "caption"}, "verification", "delete continuation = caption"),
        ({"target_risk": 0.1}, "verification", "set a threshold instead"),
        ({"target_gain": 0.5}, "verification", "set a threshold instead"),
        ({"noise": {"epsilon": 8.0}}, "noise.epsilon", "set noise.sigma instead"),
    ],
)
def test_other_combinations_are_refused(changes: dict[str, Any], key: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=f"setting {key}: .*{advice}"):
        Settings(**(LOSSLESS | changes))


def test_drafter_without_slots_is_refused_when_loading() -> None:
    captioner = Captioner(ScriptedDrafter(), config=Settings(**LOSSLESS))
    with pytest.raises(ConfigError, match="has no slots"):
        captioner.load()
