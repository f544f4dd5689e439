"""Budgets from an exceeded cap to its explanation: captions, journal and commands."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.budget import CAPS, BudgetLimits
from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.errors import LedgerUnavailable
from ugsd_privacy.ledger import JournalRow, Ledger
from ugsd_privacy.protocol.channel import HELLO_BYTES
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reasons import Reason, ReasonCode
from ugsd_sdk.caption import BlockDecision, Caption
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main
from ugsd_sdk.decoding.events import Outcome
from ugsd_sdk.decoding.policy import AlwaysEscalate, UncertaintyPolicy
from ugsd_sdk.reports.budget import budget_report
from ugsd_sdk.reports.decisions import Advice
from ugsd_sdk.settings.config import Settings

from tests.doubles.reasons import why_of
from tests.doubles.recordings import caption_utterance

New = Callable[..., Captioner]
Voice = NDArray[np.float32]
Capsys = pytest.CaptureFixture[str]

FRAME = 128
TWO_BLOCKS = dp.epsilon_of_privacy_cost(
    dp.privacy_cost(sensitivity=2.0, sigma=1.0, vectors=12), 1e-6
)
"""An epsilon that suffices for ten states but not for fifteen."""
REACHED = {
    "blocks_per_caption": 2,
    "tokens_per_caption": 12,
    "frames_per_caption": 2,
    "bytes_per_caption": 3 * FRAME - 1,
    "epsilon_per_caption": TWO_BLOCKS,
    "blocks_per_recording": 2,
    "tokens_per_recording": 12,
    "frames_per_recording": 2,
    "bytes_per_recording": 3 * FRAME - 1,
    "epsilon_per_recording": TWO_BLOCKS,
    "blocks_per_hour": 2,
    "tokens_per_hour": 12,
    "frames_per_hour": 3,
    "bytes_per_hour": HELLO_BYTES + 3 * FRAME - 1,
    "epsilon_per_hour": TWO_BLOCKS,
    "blocks_per_day": 2,
    "tokens_per_day": 12,
    "frames_per_day": 3,
    "bytes_per_day": HELLO_BYTES + 3 * FRAME - 1,
    "epsilon_per_day": TWO_BLOCKS,
    "blocks_per_lifetime": 2,
    "tokens_per_lifetime": 12,
    "frames_per_lifetime": 3,
    "bytes_per_lifetime": HELLO_BYTES + 3 * FRAME - 1,
    "epsilon_per_lifetime": TWO_BLOCKS,
}
"""A value of each cap that a caption of five blocks exceeds."""


def output(capsys: Capsys, *arguments: str, code: int = 0) -> str:
    assert main(["budget", *arguments]) == code
    printed = capsys.readouterr()
    return printed.out if code == 0 else printed.err


def outcomes(caption: Caption) -> list[Outcome]:
    return [decision.outcome for decision in caption.decisions]


@pytest.fixture
def at(tmp_path: Path) -> list[str]:
    return ["--home", str(tmp_path / "home")]


@pytest.mark.parametrize("cap", CAPS)
def test_exceeded_cap_is_explained_with_numbers_and_advice(
    new_captioner: New, fake: Any, voice: Voice, at: list[str], capsys: Capsys, cap: str
) -> None:
    settings = Settings(
        limits=BudgetLimits.without_caps(**{cap: REACHED[cap]}), noise={"sigma": 1.0}, user="ada"
    )
    policy = AlwaysEscalate(Disclosure.BLOCK_STATES)
    with new_captioner(config=settings, policy=policy) as captioner:
        caption = caption_utterance(captioner, voice, b"one recording ..")
    sent = len(fake.blocks)
    assert 0 < sent < 5
    assert why_of(caption.unverified_reason) == f"cap_exceeded: {cap}"
    disabled = [Outcome.VERIFIER_DISABLED] * (4 - sent)
    assert outcomes(caption) == [Outcome.SENT] * sent + [Outcome.BLOCKED, *disabled]
    refused = caption.decisions[sent]
    assert refused.reason == caption.unverified_reason
    assert re.fullmatch(rf"{cap}: \S+ used of \S+, \S+ more wanted", str(refused.reason))
    assert refused.start == 5 * sent
    assert all(refused.reason == after.reason.failure for after in caption.decisions[sent + 1 :])
    out = output(capsys, "explain", "--user", "ada", *at)
    assert f"caption {caption.id} of ada" in out
    assert f"blocked    {refused.reason}\n" in out
    window = cap.rpartition("_")[2]
    advice = {
        "caption": "applies to each caption: raise",
        "recording": "applies to each recording: raise",
        "lifetime": "--window lifetime",
    }
    assert advice.get(window, f"the {window} resets at 20") in out
    (line,) = output(capsys, "explain", "--user", "ada", "--json", *at).splitlines()
    blocks = json.loads(line)["blocks"]
    assert [{name: b[name] for name in BlockDecision.model_fields} for b in blocks] == [
        decision.model_dump(mode="json") for decision in caption.decisions
    ]
    frees_up = blocks[sent]["frees_up"]
    assert (frees_up is not None) == (window in {"hour", "day"})
    if frees_up is not None:
        seconds = {"hour": 3600, "day": 86400}[window]
        assert 0 < datetime.fromisoformat(frees_up).timestamp() - time.time() <= seconds


def test_epsilon_cap_blocks_states_without_noise(
    new_captioner: New, fake: Any, voice: Voice, at: list[str], capsys: Capsys
) -> None:
    settings = Settings(limits={"epsilon_per_day": 1000.0})
    with new_captioner(config=settings) as captioner:
        caption = captioner.caption(voice, 16_000)
    assert caption.decisions[0].reason == Reason(
        code=ReasonCode.CAP_EXCEEDED, cap="epsilon_per_day", limit=1000, used=0, wanted=math.inf
    )
    explained = output(capsys, "explain", *at)
    assert "epsilon_per_day: 0 used of 1000, and states without noise have no" in explained
    assert caption.usage.guarantee is None, "no state was sent"
    assert not fake.blocks
    out = output(capsys, "explain", *at)
    assert "-> epsilon_per_day allows no state without noise: set noise, or lift the cap" in out


@pytest.mark.parametrize(
    ("window", "advice"),
    [
        ("hour", "in this hour: it resets at 20"),
        ("day", "in this day: it resets at 20"),
        ("lifetime", "in this lifetime: run `ugsd budget reset --user ada --window lifetime`"),
    ],
)
def test_earlier_states_without_noise_are_the_cause(
    new_captioner: New, voice: Voice, at: list[str], capsys: Capsys, window: str, advice: str
) -> None:
    policy = AlwaysEscalate(Disclosure.BLOCK_STATES)
    with new_captioner(config=Settings(user="ada"), policy=policy) as captioner:
        captioner.caption(voice, 16_000)
    settings = Settings(limits={f"epsilon_per_{window}": 20.0}, noise={"sigma": 2.0}, user="ada")
    with new_captioner(config=settings, policy=policy) as captioner:
        reason = captioner.caption(voice, 16_000).decisions[0].reason
    assert reason.used == math.inf
    assert reason.wanted is not None
    assert 0 < reason.wanted < 20
    out = output(capsys, "explain", "--user", "ada", *at)
    assert f"-> states were sent without noise {advice}" in out
    assert f"`ugsd budget reset --user ada --window {window}`" in out
    assert "set noise" not in out


def test_advice_for_too_small_cap_is_not_waiting(
    new_captioner: New, voice: Voice, at: list[str], capsys: Capsys
) -> None:
    with new_captioner(config=Settings(limits={"tokens_per_day": 4})) as captioner:
        captioner.caption(voice, 16_000)
    out = output(capsys, "explain", *at)
    assert "-> this block alone needs more than tokens_per_day allows: raise it" in out
    assert "resets" not in out


def test_each_user_has_their_own_caps(
    new_captioner: New, fake: Any, voice: Voice, tmp_path: Path
) -> None:
    path = tmp_path / "ugsd.toml"
    path.write_text(
        """
        limits = {blocks_per_day = 4}
        [presets]
        child = {preset = "guest", tokens_per_day = 12}
        guest = {blocks_per_day = 1, tokens_per_day = 5}
        [users]
        ada = {preset = "child", blocks_per_day = 3}
        ben = {preset = "guest"}
        cleo = {blocks_per_day = "none"}
        """
    )
    sent, why = {}, {}
    for user in ("ada", "ben", "cleo", "dan"):
        before = len(fake.blocks)
        with new_captioner(config=path, user=user) as captioner:
            why[user] = why_of(captioner.caption(voice, 16_000).unverified_reason)
        sent[user] = len(fake.blocks) - before
    assert sent == {"ada": 2, "ben": 1, "cleo": 5, "dan": 4}
    assert why == {
        "ada": "cap_exceeded: tokens_per_day",
        "ben": "cap_exceeded: blocks_per_day",
        "cleo": None,
        "dan": "cap_exceeded: blocks_per_day",
    }


def test_block_below_threshold_is_explained(
    new_captioner: New, voice: Voice, at: list[str], capsys: Capsys
) -> None:
    with new_captioner(policy=UncertaintyPolicy(0.9)) as captioner:
        captioner.wait_until_connected()  # nothing is journalled before the ledger is open
        caption = captioner.caption(voice, 16_000)
    assert set(outcomes(caption)) == {Outcome.LOCAL}
    for block in caption.decisions:
        assert block.reason == Reason(
            code=ReasonCode.BELOW_THRESHOLD, value=block.uncertainty, threshold=0.9
        )
    assert "a lower threshold would send it" in output(capsys, "explain", *at)


def test_unenrolled_speaker_is_explained(new_captioner: New, voice: Voice, drafter: Any) -> None:
    from dataclasses import replace

    from ugsd_sdk.profile.speaker_profile import ClipVoice

    plain_encode = drafter.encode

    def encode(samples: Any, profile: Any) -> Any:
        voice = ClipVoice(np.zeros(3, dtype=np.float32))
        return replace(plain_encode(samples, profile), voice=voice)

    drafter.encode = encode
    with new_captioner(user="ada") as captioner:
        caption = captioner.caption(voice, 16_000)
    assert {d.reason.code for d in caption.decisions} == {ReasonCode.NOT_ENROLLED}
    assert set(outcomes(caption)) == {Outcome.LOCAL}


def test_missing_verdict_is_explained(
    new_captioner: New, fake: Any, voice: Voice, at: list[str], capsys: Capsys
) -> None:
    fake.answer = lambda block: None
    settings = Settings(verifier={"deadline_s": 0.5})
    with new_captioner(config=settings) as captioner:
        captioner.wait_until_connected()  # so that only the block counts against the deadline
        caption = captioner.caption(voice, 16_000)
    assert outcomes(caption) == [Outcome.SENT, *[Outcome.VERIFIER_DISABLED] * 4]
    late = Reason(code=ReasonCode.DEADLINE)
    assert [decision.reason for decision in caption.decisions[:2]] == [
        Reason(code=ReasonCode.POLICY_ESCALATES, failure=late),
        Reason(code=ReasonCode.AFTER_BLOCK, start=0, failure=late),
    ]
    assert "raise verifier.deadline_s" in output(capsys, "explain", *at)


def test_nothing_is_journalled_without_a_verifier(
    drafter: Any, voice: Voice, tmp_path: Path
) -> None:
    with Captioner(drafter, home=tmp_path / "home") as captioner:
        caption = captioner.caption(voice, 16_000)
    assert caption.id is None
    assert {d.reason.code for d in caption.decisions} == {ReasonCode.NO_VERIFIER}
    assert not (tmp_path / "home").exists()


def test_unwritable_journal_costs_no_caption(
    new_captioner: New, voice: Voice, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def full(self: Ledger, **_: object) -> None:
        raise LedgerUnavailable("full")

    monkeypatch.setattr(Ledger, "as_owner", full)
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    assert caption.unverified_reason is None
    assert "decisions were not written to the journal: LedgerUnavailable" in caplog.text


def test_captions_are_found_by_id_or_count(
    new_captioner: New, voice: Voice, at: list[str], capsys: Capsys
) -> None:
    with new_captioner(user="ada") as captioner:
        ids = [captioner.caption(voice, 16_000).id for _ in range(3)]
    lines = output(capsys, "explain", "--user", "ada", "--last", "2", "--json", *at).splitlines()
    assert [json.loads(line)["caption"] for line in lines] == ids[1:]
    (line,) = output(
        capsys, "explain", "--user", "ada", "--caption", str(ids[0])[:12], "--json", *at
    ).splitlines()
    assert json.loads(line)["caption"] == ids[0]
    assert output(capsys, "explain", "--user", "ben", *at) == "", (
        "captions of other users are not shown"
    )
    assert "no caption ffffff of ada" in output(
        capsys, "explain", "--user", "ada", "--caption", "ffffff", *at, code=1
    )


def test_advice_on_a_past_window_is_not_waiting() -> None:
    hour = 500_000
    for window, hours in (("hour", 1), ("day", 24)):
        cap = f"tokens_per_{window}"
        reason = Reason(code=ReasonCode.CAP_EXCEEDED, cap=cap, limit=9, used=9, wanted=1)
        refused = JournalRow(3600 * hour, "a b", b"c", 0, 5, 0.5, "blocked", reason)
        reset_hour = hour + 1 if window == "hour" else (hour // 24 + 1) * 24
        now = Advice.on(refused, hour)
        assert now.available_at == time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(3600 * reset_hour))
        assert "--user 'a b'" in now.text, "to be pasted into a shell"
        assert Advice.on(refused, hour + hours).available_at is None
        assert "was reset since" in Advice.on(refused, hour + hours).text


def test_windows_reset_on_utc_hours_and_days(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "nowhere")
    start_s = datetime(2026, 3, 28, 22, 59, 59, tzinfo=UTC).timestamp()
    for later_s, hour, day in (
        (0, "28T23", "29T00"),
        (1, "29T00", "29T00"),
        (3601, "29T01", "30T00"),
    ):
        report = budget_report(settings, clock=lambda s=start_s + later_s: s, uptime=lambda: None)
        resets = {row.cap: row.resets_at for row in report.rows}
        assert resets["blocks_per_hour"] == f"2026-03-{hour}:00Z"
        assert resets["blocks_per_day"] == f"2026-03-{day}:00Z"
        assert resets["blocks_per_caption"] is None


def test_caps_of_a_recording_are_set_and_shown(at: list[str], capsys: Capsys) -> None:
    out = output(capsys, "set", "blocks_per_recording=50", "--user", "ada", *at)
    assert out == "ada: blocks_per_recording: at most 50; in force for ada: 50\n"
    (row,) = (
        row
        for row in json.loads(output(capsys, "show", "--user", "ada", "--json", *at))["rows"]
        if row["cap"] == "blocks_per_recording"
    )
    assert (row["in_force"], row["used"], row["remaining"], row["price"]) == (50, None, None, None)
    lines = output(capsys, "show", "--user", "ada", *at).splitlines()
    (line,) = (line for line in lines if line.startswith("blocks_per_recording"))
    assert line.rstrip().endswith("each recording")


def test_device_cap_overrides_application_settings(
    new_captioner: New, fake: Any, voice: Voice, at: list[str], capsys: Capsys
) -> None:
    assert "ada: tokens_per_day: at most 12; in force for ada: 12" in output(
        capsys, "set", "tokens_per_day=12", "--user", "ada", *at
    )
    output(capsys, "set", "blocks_per_day=1", "--everyone", *at)
    lavish = Settings(limits=BudgetLimits.without_caps())
    for user, expected in (("ada", 1), ("ben", 1)):
        before = len(fake.blocks)
        with new_captioner(config=lavish, user=user) as captioner:
            caption = captioner.caption(voice, 16_000)
        assert len(fake.blocks) - before == expected
        assert why_of(caption.unverified_reason) == "cap_exceeded: blocks_per_day"
    output(capsys, "set", "blocks_per_day=none", "--everyone", *at)
    with new_captioner(config=lavish, user="ada") as captioner:
        caption = captioner.caption(voice, 16_000)
        assert why_of(caption.unverified_reason) == "cap_exceeded: tokens_per_day"
        assert caption.usage.num_blocks == 1, "7 of 12 tokens remained"
        output(capsys, "set", "tokens_per_day=none", "--user", "ada", *at)
        assert captioner.caption(voice, 16_000).unverified_reason is None, (
            "in a running process too"
        )


def test_smaller_cap_of_settings_is_shown(at: list[str], capsys: Capsys) -> None:
    out = output(capsys, "set", "blocks_per_caption=50", *at)
    assert out == "default: blocks_per_caption: at most 50; in force for default: 8\n"


def test_reset_renews_windows_and_is_logged(
    new_captioner: New, voice: Voice, at: list[str], capsys: Capsys
) -> None:
    settings = Settings(limits=BudgetLimits.without_caps(blocks_per_day=5, blocks_per_lifetime=10))
    with new_captioner(config=settings, user="ada") as captioner:
        captions = [captioner.caption(voice, 16_000) for _ in range(2)]
        assert [why_of(c.unverified_reason) for c in captions] == [
            None,
            "cap_exceeded: blocks_per_day",
        ]
        out = output(capsys, "reset", "--user", "ada", "--yes", *at)
        assert out == "ada: hour and day reset; logged as record 6\n"
        captions = [captioner.caption(voice, 16_000) for _ in range(2)]
        assert [why_of(c.unverified_reason) for c in captions] == [
            None,
            "cap_exceeded: blocks_per_day",
        ]
        output(capsys, "reset", "--user", "ada", "--yes", *at)
        assert (
            why_of(captioner.caption(voice, 16_000).unverified_reason)
            == "cap_exceeded: blocks_per_lifetime"
        )
        output(capsys, "reset", "--user", "ada", "--window", "lifetime", "--yes", *at)
        assert captioner.caption(voice, 16_000).unverified_reason is None
    assert main(["audit", "show", *at]) == 0
    shown = capsys.readouterr().out
    assert shown.count("reset: hour, day ") == 2
    assert "reset: lifetime" in shown
    assert main(["audit", "verify", *at]) == 0


def test_reset_asks_for_confirmation(
    new_captioner: New,
    voice: Voice,
    at: list[str],
    capsys: Capsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "no budget was used yet" in output(capsys, "reset", "--yes", *at)
    with new_captioner() as captioner:
        captioner.caption(voice, 16_000)
    assert "cannot ask for confirmation here: add --yes" in output(capsys, "reset", *at, code=2)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: exec("import typer; raise typer.Abort"))
    assert "Aborted" in output(capsys, "reset", *at, code=1)
    assert main(["audit", "show", *at]) == 0
    assert "reset" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tokens_per_dya=5"], "tokens_per_dya: no such cap: did you mean tokens_per_day?"),
        (["colour=5"], "colour: no such cap: give one of blocks_per_caption, "),
        (["tokens_per_day"], "give it a value: tokens_per_day=100"),
        (["tokens_per_day=1.5"], "give a whole number of 0 or more, or none; not '1.5'"),
        (["tokens_per_day=-1"], "a whole number of 0 or more"),
        (["tokens_per_day=9999999999999999999"], "a whole number"),
        (["epsilon_per_day=inf"], "give a number of 0 or more, or none; not 'inf'"),
        (["tokens_per_day=1", "tokens_per_day=2"], "given twice"),
        (
            ["tokens_per_day=1", "--everyone", "--user", "ada"],
            "give only one of --everyone and --user",
        ),
        ([], "Missing argument"),
    ],
)
def test_invalid_cap_is_an_error_and_changes_nothing(
    arguments: list[str], message: str, at: list[str], capsys: Capsys, tmp_path: Path
) -> None:
    assert message in " ".join(output(capsys, "set", *arguments, *at, code=2).split())
    assert not (tmp_path / "home").exists()


def test_budget_shows_epsilon_with_its_label(
    new_captioner: New, voice: Voice, at: list[str], capsys: Capsys
) -> None:
    users: list[tuple[str, float | None, str | None]] = [
        ("bare", None, "none"), ("little", 0.5, "noise"), ("much", 2.0, "privacy"),
    ]  # fmt: skip
    for user, sigma, label in users:
        noise = None if sigma is None else {"sigma": sigma}
        with new_captioner(config=Settings(noise=noise, user=user)) as captioner:
            captioner.caption(voice, 16_000)
        output(capsys, "set", "epsilon_per_lifetime=50", "--user", user, *at)
        report = json.loads(output(capsys, "show", "--user", user, "--json", *at))
        rows = {row["cap"]: row for row in report["rows"]}
        epsilon = rows["epsilon_per_lifetime"]
        assert (epsilon["label"], epsilon["set_on_device"], epsilon["configured"]) == (
            label,
            50,
            None,
        )
        assert epsilon["in_force"] == 50
        assert (epsilon["used"] is None) == (sigma is None)
        assert (epsilon["remaining"] == 0) == (sigma is None)
        assert rows["tokens_per_day"]["used"] == 24
        assert rows["tokens_per_day"]["remaining"] == 20_000 - 24
        assert rows["tokens_per_caption"]["used"] is None
        assert "tokens_per_lifetime" not in rows, "no cap is set"
        shown = output(capsys, "show", "--user", user, *at)
        assert "epsilon at delta 1e-06: called privacy up to 10, and noise above" in shown
        assert ("unbounded" if sigma is None else f"({label})") in shown
