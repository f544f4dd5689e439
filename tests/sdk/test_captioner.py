"""The facade over a verifier in memory: what it reports, and that no verifier can hurt it."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.protocol.messages import (
    Block,
    Cover,
    Disclosure,
    Refusal,
    RefusalCode,
    Verdict,
    Welcome,
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
from ugsd_sdk.errors import AudioError, ConfigError, VerifierMismatch
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.transport.memory import MemoryTransport

from tests.doubles.reasons import why_of

Voice = NDArray[np.float32]
New = Callable[..., Captioner]


def verdict(block: Block, **changes: Any) -> Verdict:
    accepted = Verdict(
        caption=block.caption,
        start=block.start,
        accepted=len(block.tokens),
        correction=None,
        continuation=(),
    )
    return Verdict(**{**accepted.model_dump(), **changes})


def test_the_json_has_exactly_the_documented_keys(new_captioner: New, voice: Voice) -> None:
    with new_captioner() as captioner:
        fields = json.loads(captioner.caption(voice, 16_000).model_dump_json())
    assert list(fields) == [
        "path",
        "text",
        "tokens",
        "usage",
        "latency_ms",
        "receipts",
        "unverified_reason",
        "id",
        "decisions",
    ]
    assert {tuple(token) for token in fields["tokens"]} == {
        ("text", "source", "uncertainty", "disclosed", "replaced")
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
        "word",
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


def test_without_a_verifier_home_and_network_are_untouched(
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


def test_the_cost_is_what_the_verifier_saw_and_what_the_log_says(
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
    assert cost.guarantee is not None, "a state left"
    assert (cost.guarantee.epsilon, cost.guarantee.word) == (None, "none")
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


def test_corrected_and_continued_words_are_the_verifiers(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    def correct(block: Block) -> Verdict:
        if block.start:
            return verdict(block)
        return verdict(block, accepted=1, correction=7, continuation=(8, 9))

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


def garbage(block: Block) -> bytes:
    return b"garbage"


def silence(block: Block) -> None:
    return None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(garbage, "verifier_misbehaved", id="garbage"),
        pytest.param(lambda block: b"", "verifier_misbehaved", id="empty"),
        pytest.param(silence, "deadline", id="silence"),
        pytest.param(
            lambda block: Refusal(code=RefusalCode.OVERLOADED),
            "verifier_refused: overloaded",
            id="refusal",
        ),
        pytest.param(
            lambda block: verdict(block, accepted=0), "verifier_misbehaved", id="no correction"
        ),
        pytest.param(
            lambda block: verdict(block, start=1), "verifier_misbehaved", id="other block"
        ),
        pytest.param(
            lambda block: verdict(block, caption=9), "verifier_misbehaved", id="other caption"
        ),
        pytest.param(
            lambda block: verdict(block, continuation=(400,)),
            "verifier_misbehaved",
            id="no such word",
        ),
        pytest.param(lambda block: Cover(), "verifier_misbehaved", id="cover"),
        pytest.param(
            lambda block: Welcome(
                version=0, vocabulary=bytes(32), projection=bytes(32), state_dim=4, max_tokens=9
            ),
            "verifier_misbehaved",
            id="welcome",
        ),
    ],
)
def test_a_caption_outlives_its_verifier(
    new_captioner: New, fake: Any, voice: Voice, drafter: ScriptedDrafter, answer: Any, reason: str
) -> None:
    with Captioner(drafter) as captioner:
        alone = captioner.caption(voice, 16_000)
    fake.answer = answer
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    assert why_of(caption.unverified_reason) == reason
    assert caption.text == alone.text
    assert len(fake.blocks) == caption.usage.num_blocks == 1
    assert [token.disclosed for token in caption.tokens[:6]] == [True] * 5 + [False]
    assert len(caption.receipts) == 1, "what left in vain is logged all the same"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("vocabulary", bytes(32), "other_vocabulary"),
        ("projection", bytes(32), "other_projection"),
        ("state_dim", 5, "other_projection"),
        ("version", 9, "other_version"),
        ("max_tokens", 3, "beyond_verifier"),
    ],
)
def test_a_verifier_of_another_kind_gets_nothing(
    new_captioner: New, fake: Any, voice: Voice, field: str, value: object, reason: str
) -> None:
    fake.welcome = fake.welcome.model_copy(update={field: value})
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    assert why_of(caption.unverified_reason) == reason
    assert caption.usage.num_blocks == 0
    assert not fake.blocks


def test_a_verifier_of_longer_captions_is_used_and_its_words_cut(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    fake.welcome = fake.welcome.model_copy(update={"max_tokens": 200})
    fake.answer = lambda block: verdict(block, continuation=(7,) * 100)
    with new_captioner() as captioner:
        captions = [captioner.caption(voice, 16_000) for _ in range(2)]
    assert [why_of(caption.unverified_reason) for caption in captions] == [None, None]
    assert [len(caption.tokens) for caption in captions] == [24, 24]
    assert fake.connections == 1


def test_a_wrong_pinned_key_gets_nothing(new_captioner: New, fake: Any, voice: Voice) -> None:
    other = VerifierKey.generate().public.to_text()
    with new_captioner(verifier_key=other) as captioner:
        captions = [captioner.caption(voice, 16_000) for _ in range(2)]
        assert fake.connections == 1, "it backs off"
        with pytest.raises(Exception, match="pinned key"):
            captioner.wait_until_connected(5)
        assert fake.connections == 2, "whoever insists is heard"
    assert [why_of(caption.unverified_reason) for caption in captions] == ["wrong_verifier_key"] * 2
    assert not fake.blocks


@pytest.mark.parametrize(
    ("limits", "reason", "blocks"),
    [
        (BudgetLimits(tokens_per_day=12), "cap_exceeded: tokens_per_day", 2),
        (BudgetLimits(blocks_per_caption=1), "cap_exceeded: blocks_per_caption", 1),
        (BudgetLimits(bytes_per_day=100), "cap_exceeded: bytes_per_day", 0),
    ],
)
def test_an_exhausted_budget_ends_in_a_caption(
    new_captioner: New, fake: Any, voice: Voice, limits: BudgetLimits, reason: str, blocks: int
) -> None:
    with new_captioner(config=Settings(limits=limits)) as captioner:
        caption = captioner.caption(voice, 16_000)
    assert why_of(caption.unverified_reason) == reason
    assert caption.usage.num_blocks == len(fake.blocks) == blocks
    sources = [token.source for token in caption.tokens]
    assert sources == [TokenSource.VERIFIED] * 5 * blocks + [TokenSource.DRAFTED] * (
        len(sources) - 5 * blocks
    )


def test_a_policy_sees_what_the_budget_still_allows(new_captioner: New, voice: Voice) -> None:
    seen = []

    def policy(block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        seen.append((budget.remaining["blocks_per_caption"], budget.remaining["tokens_per_day"]))
        return Escalate(Disclosure.TOKENS)

    with new_captioner(policy=policy) as captioner:
        captioner.caption(voice, 16_000)
    assert seen[:3] == [(8, 20_000), (7, 19_995), (6, 19_990)]


def test_an_unusable_ledger_keeps_everything_in(
    new_captioner: New, fake: Any, voice: Voice, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger").write_text("not a folder")
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    assert why_of(caption.unverified_reason) == "ledger_unavailable"
    assert not fake.frames


@pytest.mark.parametrize("running", [True, False])
def test_a_log_that_was_rolled_back_lets_nothing_out(
    new_captioner: New, fake: Any, voice: Voice, tmp_path: Path, running: bool
) -> None:
    captioner = new_captioner()
    captioner.caption(voice, 16_000)
    if not running:
        captioner.close()
    with closing(sqlite3.connect(tmp_path / "home" / "ledger" / "ledger.sqlite3")) as db:
        for table in ("charges", "leaves", "nodes"):
            db.execute(f"DELETE FROM {table}")
        db.commit()
    with captioner:
        for _ in range(2):
            assert (
                why_of(captioner.caption(voice, 16_000).unverified_reason) == "ledger_unavailable"
            )
    assert len(fake.frames) == 6, "a hello and five blocks, of the first caption"


@pytest.mark.parametrize("running", [True, False])
def test_a_log_that_was_rewritten_lets_nothing_out(
    new_captioner: New, fake: Any, voice: Voice, tmp_path: Path, running: bool
) -> None:
    captioner = new_captioner()
    captioner.caption(voice, 16_000)
    if not running:
        captioner.close()
    with closing(sqlite3.connect(tmp_path / "home" / "ledger" / "ledger.sqlite3")) as db:
        db.execute("UPDATE nodes SET hash = zeroblob(32) WHERE level > 0")
        db.commit()
    captioner.caption(voice, 16_000)  # where it runs, it finds out when it signs
    captioner._load().link._retry_at_s = 0.0
    frames = len(fake.frames)
    with captioner:
        caption = captioner.caption(voice, 16_000)
    assert why_of(caption.unverified_reason) == "log_tampered"
    assert len(fake.frames) == frames
    assert frames == (11 if running else 6), "a hello and five blocks per caption"


def test_home_is_its_owners_alone(new_captioner: New, voice: Voice, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with new_captioner(home=tmp_path / "new" / "home") as captioner:
            assert captioner.caption(voice, 16_000).unverified_reason is None
    finally:
        os.umask(old)
    places = [tmp_path / "new" / "home", *(tmp_path / "new" / "home").rglob("*")]
    assert len(places) > 3
    assert not [place for place in places if place.stat().st_mode & 0o077]


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


def test_a_bad_clip_is_its_own_error_and_the_next_one_is_captioned(
    new_captioner: New, voice: Voice
) -> None:
    with new_captioner() as captioner:
        with pytest.raises(AudioError):
            captioner.caption(b"not audio")
        assert captioner.caption(voice, 16_000).unverified_reason is None


def test_the_path_is_reported_and_an_array_has_none(
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
def test_a_wrong_setting_is_told_on_load(
    drafter: ScriptedDrafter, arguments: dict[str, Any]
) -> None:
    captioner = Captioner(drafter, **arguments)
    with pytest.raises(ConfigError):
        captioner.load()


def test_the_environment_counts_only_where_a_file_is_read(
    drafter: ScriptedDrafter, monkeypatch: pytest.MonkeyPatch, voice: Voice
) -> None:
    monkeypatch.setenv("UGSD_VERIFIER__URL", "ws://127.0.0.1:1")
    with Captioner(drafter, policy=AlwaysEscalate()) as captioner:
        assert captioner.caption(voice, 16_000).unverified_reason is None


def test_connect_tells_why_there_is_no_verifier(new_captioner: New, fake: Any) -> None:
    fake.welcome = fake.welcome.model_copy(update={"vocabulary": bytes(32)})
    with new_captioner() as captioner, pytest.raises(VerifierMismatch, match="trained together"):
        captioner.wait_until_connected(5)


def test_loading_is_told_by_the_first_caption_after_it(
    drafter: ScriptedDrafter, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafter, "load", lambda: time.sleep(0.05))
    with Captioner(drafter) as captioner:
        first, second = (captioner.caption(voice, 16_000).latency_ms for _ in range(2))
    assert first.total >= first.load >= 50
    assert second.load == 0
    alone = Captioner(drafter).caption(voice, 16_000).latency_ms
    assert alone.total >= alone.load >= 50


def test_closing_twice_and_captioning_after_closing_work(new_captioner: New, voice: Voice) -> None:
    captioner = new_captioner()
    captioner.caption(voice, 16_000)
    captioner.close()
    captioner.close()
    assert captioner.caption(voice, 16_000).unverified_reason is None
    captioner.close()


def test_deadlines_bound_a_caption(new_captioner: New, voice: Voice) -> None:
    class Stuck(MemoryTransport):
        def __init__(self) -> None:
            super().__init__(lambda data: None)

        def connect(self, timeout_s: float) -> None:
            super().connect(timeout_s)
            threading.Event().wait(1.0)

    settings = Settings(verifier=VerifierSettings(deadline_s=0.2, connect_timeout_s=1.0))
    with new_captioner(verifier=Stuck, config=settings) as captioner:
        first = captioner.caption(voice, 16_000)
        second = captioner.caption(voice, 16_000)
    assert (
        why_of(first.unverified_reason)
        == why_of(second.unverified_reason)
        == "verifier_unreachable"
    )
    assert 150 < first.latency_ms.wait < 600
    assert second.latency_ms.wait < 50, "one attempt costs one caption a wait"


def test_every_token_that_left_is_in_the_caption_or_told_as_replaced(
    new_captioner: New, fake: Any, drafter: ScriptedDrafter, voice: Voice
) -> None:
    def reject_the_third(block: Block) -> Verdict:
        if len(block.tokens) < 3:
            return verdict(block)
        other = next(t for t in range(4, 9) if t != block.tokens[2])
        return verdict(block, accepted=2, correction=other)

    fake.answer = reject_the_third
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    sent = [drafter.piece(t) for block in fake.blocks for t in (*block.prefix, *block.tokens)]
    told = [token.text for token in caption.tokens if token.disclosed]
    replaced = "".join(token.replaced for token in caption.tokens)
    assert len(replaced) > 0
    assert sorted("".join(sent)) == sorted("".join(told) + replaced)


def test_words_that_an_end_replaced_stay_visible(
    new_captioner: New, fake: Any, drafter: ScriptedDrafter, voice: Voice
) -> None:
    def end_the_second(block: Block) -> Verdict:
        return verdict(block) if not block.start else verdict(block, accepted=2, correction=0)

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
