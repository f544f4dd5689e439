"""The guarantee of a caption, and noise that is chosen for an epsilon."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.policy import AlwaysEscalate
from ugsd_sdk.settings.config import Settings

New = Callable[..., Captioner]
Voice = NDArray[np.float32]


def test_guarantee_is_labelled_privacy_or_noise(new_captioner: New, voice: Voice) -> None:
    guarantees = {}
    for name, sigma in (("little", 0.5), ("much", 2.0)):
        settings = Settings(noise={"sigma": sigma}, user=name)
        with new_captioner(config=settings) as captioner:
            guarantees[name] = captioner.caption(voice, 16_000).usage.guarantee
    little, much = guarantees["little"], guarantees["much"]
    assert (little.label, much.label) == ("noise", "privacy")
    assert much.epsilon < 10 < little.epsilon
    assert (little.unit, little.delta) == ("caption", 1e-6)
    assert little.relation
    assert re.fullmatch(r"epsilon \S+ at delta 1e-06 per caption \(noise\)", little.text())


def test_noise_for_an_epsilon_fits_that_cap(new_captioner: New, voice: Voice) -> None:
    settings = Settings(
        noise={"epsilon": 4.0},
        disclosure="all_states",
        limits={"epsilon_per_caption": 4.0, "tokens_per_caption": 24},
    )
    policy = AlwaysEscalate(Disclosure.ALL_STATES)
    with new_captioner(config=settings, policy=policy) as captioner:
        caption = captioner.caption(voice, 16_000)
    assert caption.unverified_reason is None
    assert caption.usage.num_disclosed_states == 24
    guarantee = caption.usage.guarantee
    assert guarantee is not None
    assert guarantee.epsilon is not None
    assert 3.999 < guarantee.epsilon <= 4
