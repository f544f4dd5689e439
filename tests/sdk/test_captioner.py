"""Captions with a verifier in memory: their text, tokens, usage and settings."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.protocol.messages import (
    Block,
    Disclosure,
    Verdict,
)
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli.caption_output import caption_text
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.decoding.policy import (
    AlwaysEscalate,
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
)
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import AudioError, CaptionerClosed, ConfigError
from ugsd_sdk.settings.config import Settings

from tests.doubles.reasons import why_of
from tests.sdk.verdicts import verdict_on

Voice = NDArray[np.float32]
New = Callable[..., Captioner]


def test_json_has_exactly_the_documented_keys(new_captioner: New, voice: Voice) -> None:
    with new_captioner() as captioner:
        fields = json.loads(captioner.caption(voice, 16_000).model_dump_json())
    assert list(fields) == [
        "path",
        "text",
        "length",
        "seed",
        "attributes",
        "confidence",
        "audio_quality",
        "is_truncated",
        "speech",
        "profile",
        "usage",
        "latency_ms",
        "unverified_reason",
        "id",
        "tokens",
        "decisions",
        "receipts",
    ]
    assert {tuple(token) for token in fields["tokens"]} == {
        ("text", "source", "uncertainty", "disclosed", "replaced", "slot")
    }
    assert list(fields["usage"]) == [
        "num_blocks",
        "num_tokens",
        "num_drafted_tokens",
        "num_disclosed_tokens",
        "num_disclosed_states",
        "num_frames",
        "bytes_sent",
        "bytes_received",
        "guarantee",
    ]
    assert list(fields["usage"]["guarantee"]) == [
        "epsilon",
        "delta",
        "unit",
        "relation",
        "label",
        "only_states_have_noise",
    ]
    assert list(fields["decisions"][0]) == [
        "start",
        "num_tokens",
        "uncertainty",
        "outcome",
        "reason",
    ]
    assert list(fields["decisions"][0]["reason"]) == ["code", "accepted", "offered", "text"]
    assert list(fields["latency_ms"]) == ["total", "load", "encode", "draft", "wait"]


def test_without_verifier_home_and_network_are_unused(
    drafter: ScriptedDrafter, voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("no socket")

    monkeypatch.setattr("socket.socket", forbidden)
    with Captioner(drafter, home=tmp_path / "home", policy=AlwaysEscalate()) as captioner:
        caption = captioner.caption(voice, 16_000)
    assert not (tmp_path / "home").exists()
    assert caption.unverified_reason is None
    assert caption.usage.num_blocks == caption.usage.num_frames == 0
    assert {token.source for token in caption.tokens} == {TokenSource.DRAFTED}


def test_usage_matches_verifier_and_log(
    new_captioner: New, fake: Any, voice: Voice, tmp_path: Path
) -> None:
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    cost = caption.usage
    hello, *frames = fake.frames
    assert caption.unverified_reason is None
    assert {token.source for token in caption.tokens} == {TokenSource.VERIFIED}
    assert cost.num_blocks == cost.num_frames == len(frames) == len(fake.blocks) == 5
    assert cost.bytes_sent == sum(map(len, frames))
    assert cost.num_disclosed_tokens == sum(len(block.tokens) for block in fake.blocks) == 24
    assert (
        cost.num_disclosed_states == sum(len(block.state_positions) for block in fake.blocks) == 1
    )
    assert cost.bytes_received > 0
    assert cost.guarantee is not None, "a state was sent"
    assert (cost.guarantee.epsilon, cost.guarantee.label) == (None, "none")
    log_key = LogKey.load(tmp_path / "home" / "log.key").public
    for receipt in caption.receipts:
        receipt.verify(log_key)
    with Ledger(tmp_path / "home" / "ledger") as ledger:
        summary = verify_log(ledger, log_key, trusted=[r.checkpoint for r in caption.receipts])
    assert summary.size == 1 + len(frames)
    assert summary.total.bytes == len(hello) + cost.bytes_sent


def test_one_session_serves_many_captions(new_captioner: New, fake: Any, voice: Voice) -> None:
    with new_captioner() as captioner:
        for _ in range(3):
            assert captioner.caption(voice, 16_000).unverified_reason is None
    assert fake.connections == 1
    assert sorted({block.caption for block in fake.blocks}) == [0, 1, 2]


def test_corrections_and_continuations_come_from_verifier(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    def correct(block: Block) -> Verdict:
        if block.start:
            return verdict_on(block)
        return verdict_on(block, accepted=1, correction=7, continuation=(8, 9))

    fake.answer = correct
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    first = [(token.text, token.source, token.disclosed) for token in caption.tokens[:4]]
    assert first[1:] == [
        (" w7", TokenSource.CORRECTED, False),
        (" w8", TokenSource.CONTINUED, False),
        (" w9", TokenSource.CONTINUED, False),
    ]
    assert [token.uncertainty is None for token in caption.tokens[:4]] == [False, True, True, True]
    assert caption.text == "".join(token.text for token in caption.tokens).strip()


def test_policy_sees_the_remaining_budget(new_captioner: New, voice: Voice) -> None:
    seen = []

    def policy(block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        seen.append((budget.remaining["blocks_per_caption"], budget.remaining["tokens_per_day"]))
        return Escalate(Disclosure.TOKENS)

    with new_captioner(policy=policy) as captioner:
        captioner.caption(voice, 16_000)
    assert seen[:3] == [(8, 20_000), (7, 19_995), (6, 19_990)]


def test_home_is_private(new_captioner: New, voice: Voice, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with new_captioner(home=tmp_path / "new" / "home") as captioner:
            assert captioner.caption(voice, 16_000).unverified_reason is None
    finally:
        os.umask(old)
    paths = [tmp_path / "new" / "home", *(tmp_path / "new" / "home").rglob("*")]
    assert len(paths) > 3
    assert not [path for path in paths if path.stat().st_mode & 0o077]


def test_threads_share_a_captioner(new_captioner: New, voice: Voice) -> None:
    captions = []
    with new_captioner() as captioner:
        threads = [
            threading.Thread(target=lambda: captions.append(captioner.caption(voice, 16_000)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [why_of(caption.unverified_reason) for caption in captions] == [None] * 4
    assert len({caption.text for caption in captions}) == 1


def test_bad_clip_does_not_affect_the_next(new_captioner: New, voice: Voice) -> None:
    with new_captioner() as captioner:
        with pytest.raises(AudioError):
            captioner.caption(b"not audio")
        assert captioner.caption(voice, 16_000).unverified_reason is None


def test_caption_has_path_only_for_files(
    drafter: ScriptedDrafter, voice: Voice, tmp_path: Path
) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", voice, 16_000)
    with Captioner(drafter) as captioner:
        assert captioner.caption(tmp_path / "a.wav").path == str(tmp_path / "a.wav")
        assert captioner.caption(voice, 16_000).path is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"verifier": "ws://127.0.0.1:1"},
        {"verifier": "ws://127.0.0.1:1", "verifier_key": "ugsd-vk1:short"},
        {"verifier": "http://127.0.0.1:1", "verifier_key": "k"},
        {"verifier": "ws://user:secret@127.0.0.1:1", "verifier_key": "k"},
        {"user": ""},
        {"config": "/no/such/file.toml"},
        {"config": Settings(), "user": "x" * 65},
    ],
)
def test_wrong_setting_is_reported_on_load(
    drafter: ScriptedDrafter, arguments: dict[str, Any]
) -> None:
    captioner = Captioner(drafter, **arguments)
    with pytest.raises(ConfigError):
        captioner.load()


def test_environment_counts_only_with_a_config_file(
    drafter: ScriptedDrafter, monkeypatch: pytest.MonkeyPatch, voice: Voice
) -> None:
    monkeypatch.setenv("UGSD_VERIFIER__URL", "ws://127.0.0.1:1")
    with Captioner(drafter, policy=AlwaysEscalate()) as captioner:
        assert captioner.caption(voice, 16_000).unverified_reason is None


def test_load_time_is_reported_by_first_caption(
    drafter: ScriptedDrafter, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafter, "load", lambda: time.sleep(0.05))
    with Captioner(drafter) as captioner:
        first, second = (captioner.caption(voice, 16_000).latency_ms for _ in range(2))
    assert first.total >= first.load >= 50
    assert second.load == 0
    unloaded = Captioner(drafter).caption(voice, 16_000).latency_ms
    assert unloaded.total >= unloaded.load >= 50


def test_closed_captioner_stays_closed(new_captioner: New, voice: Voice) -> None:
    captioner = new_captioner()
    captioner.caption(voice, 16_000)
    captioner.close()
    captioner.close()
    for use in (captioner.load, captioner.profile_of, lambda: captioner.caption(voice, 16_000)):
        with pytest.raises(CaptionerClosed, match="create another"):
            use()
    with pytest.raises(CaptionerClosed), captioner:
        pass


def test_every_sent_token_is_reported_or_replaced(
    new_captioner: New, fake: Any, drafter: ScriptedDrafter, voice: Voice
) -> None:
    def reject_the_third(block: Block) -> Verdict:
        if len(block.tokens) < 3:
            return verdict_on(block)
        other = next(t for t in range(4, 9) if t != block.tokens[2])
        return verdict_on(block, accepted=2, correction=other)

    fake.answer = reject_the_third
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    sent = [drafter.piece(t) for block in fake.blocks for t in (*block.prefix, *block.tokens)]
    disclosed = [token.text for token in caption.tokens if token.disclosed]
    replaced = "".join(token.replaced for token in caption.tokens)
    assert len(replaced) > 0
    assert sorted("".join(sent)) == sorted("".join(disclosed) + replaced)


def test_words_replaced_by_end_stay_visible(
    new_captioner: New, fake: Any, drafter: ScriptedDrafter, voice: Voice
) -> None:
    def end_the_second(block: Block) -> Verdict:
        return verdict_on(block) if not block.start else verdict_on(block, accepted=2, correction=0)

    fake.answer = end_the_second
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    assert caption.unverified_reason is None
    assert len(fake.blocks) == 2
    sent = [drafter.piece(token) for block in fake.blocks for token in block.tokens]
    assert [token.text for token in caption.tokens if token.disclosed] == sent[:7]
    assert "".join(token.text for token in caption.tokens).strip() == caption.text
    end = caption.tokens[-1]
    assert (end.text, end.source, end.replaced) == ("", TokenSource.CORRECTED, "".join(sent[7:]))
    shown = caption_text(caption, colour=False).plain
    assert shown.endswith(f"[-{end.replaced.strip()}-]")
    assert not shown.startswith("[-")
