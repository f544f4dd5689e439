"""A recording's captions share its caps, and other recordings do not."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.errors import RecordingRefused
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main
from ugsd_sdk.decoding.policy import BlockView, BudgetView, Escalate, KeepLocal
from ugsd_sdk.settings.config import Settings

from tests.doubles.reasons import why_of
from tests.doubles.recordings import caption_utterance

New = Callable[..., Captioner]
Voice = NDArray[np.float32]

SEVEN = Settings(limits=BudgetLimits.without_caps(blocks_per_recording=7))


def test_recording_is_verified_until_its_cap(new_captioner: New, fake: Any, voice: Voice) -> None:
    one, other = os.urandom(16), os.urandom(16)
    with new_captioner(config=SEVEN) as captioner:
        captions = [caption_utterance(captioner, voice, one) for _ in range(3)]
        captions += [caption_utterance(captioner, voice, other), captioner.caption(voice, 16_000)]
    reasons = [caption.unverified_reason for caption in captions]
    refused = "cap_exceeded: blocks_per_recording"
    assert [reason and why_of(reason) for reason in reasons] == [None, refused, refused, None, None]
    assert [caption.usage.num_blocks for caption in captions] == [5, 2, 0, 5, 5]
    assert len(fake.blocks) == 17


def test_policy_sees_what_remains_of_the_recording(new_captioner: New, voice: Voice) -> None:
    seen = []

    def policy(block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        seen.append(budget.remaining["blocks_per_recording"])
        return Escalate(Disclosure.TOKENS) if block.start == 0 else KeepLocal()

    with new_captioner(policy=policy, config=SEVEN) as captioner:
        for recording in (b"1" * 16, b"1" * 16, b"2" * 16, None):
            caption_utterance(captioner, voice, recording)
    assert [seen[at] for at in range(0, len(seen), 5)] == [7, 6, 7, 7]
    assert [seen[at] for at in range(1, len(seen), 5)] == [6, 5, 6, 7]


def test_invalid_recording_is_refused_and_sends_nothing(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    with new_captioner() as captioner, pytest.raises(RecordingRefused, match="16 random bytes"):
        caption_utterance(captioner, voice, b"short")
    assert not fake.blocks


def test_recordings_at_once_never_exceed_their_caps(
    new_captioner: New,
    fake: Any,
    voice: Voice,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids = {"ada": [b"1" * 16, b"2" * 16], "ben": [b"1" * 16]}
    sent: Counter[tuple[str, bytes]] = Counter()

    def channel(user: str, recording: bytes) -> None:
        for _ in range(3):
            caption = caption_utterance(captioner, voice, recording, user=user)
            sent[user, recording] += caption.usage.num_blocks

    with new_captioner(config=SEVEN) as captioner:
        channels = [
            threading.Thread(target=channel, args=(user, recording))
            for user, some in ids.items()
            for recording in some
            for _ in range(2)
        ]
        for one in channels:
            one.start()
        for one in channels:
            one.join()
    assert sum(sent.values()) == len(fake.blocks) == 3 * 7
    assert main(["audit", "verify", "--home", str(tmp_path / "home")]) == 0
    assert f"{3 * 7} blocks" in capsys.readouterr().out
