"""One captioner serves many users, each with their own profile, budget, settings and connection."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.errors import UserNameRefused
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.users.user_pipelines import UserPipelines

from tests.doubles.reasons import why_of
from tests.doubles.waiting_drafters import MeetingDrafter

Voice = NDArray[np.float32]
New = Callable[..., Captioner]


def test_each_user_has_an_own_budget(new_captioner: New, fake: Any, voice: Voice) -> None:
    settings = Settings(users={"ada": {"blocks_per_day": 0}})
    with new_captioner(config=settings) as captioner:
        ada, ben = (captioner.caption(voice, 16_000, user=name) for name in ("Ada", "ben"))
    assert why_of(ada.unverified_reason) == "cap_exceeded: blocks_per_day"
    assert ben.unverified_reason is None
    assert ben.usage.num_blocks == len(fake.blocks) > 0


def test_users_tables_change_captions_alone(voice: Voice) -> None:
    settings = Settings(users={"ada": {"length": "short"}})
    with Captioner(config=settings) as captioner:
        ada, ben = (captioner.caption(voice, 16_000, user=name) for name in ("ada", "ben"))
        assert (ada.length, ben.length) == ("short", "normal")
        assert captioner.caption(voice, 16_000).length == "normal"


def test_profiles_of_users_do_not_mix(voice: Voice) -> None:
    with Captioner(user="ada") as captioner:
        captioner.caption(voice, 16_000)
        captioner.caption(voice, 16_000, user="ben")
        profiles = [captioner.profile_of(name) for name in (None, "ben", "eve")]
        assert [profile and profile.num_clips for profile in profiles] == [1, 1, 0]
        assert captioner.profile_of("ADA") is profiles[0]
        assert captioner.profile_of("default") is None


def test_one_captioner_equals_one_for_each_user(voice: Voice) -> None:
    clips = [voice[: 16_000 - 800 * index] for index in range(4)]
    with Captioner() as shared:
        mixed = [shared.caption(c, 16_000, user=u).text for c in clips for u in ("ada", "ben")]
    alone = []
    for user in ("ada", "ben"):
        with Captioner(user=user) as captioner:
            alone.append([captioner.caption(clip, 16_000).text for clip in clips])
    assert mixed == [text for pair in zip(*alone, strict=True) for text in pair]


def test_each_user_has_an_own_session(new_captioner: New, fake: Any, voice: Voice) -> None:
    with new_captioner() as captioner:
        for user in ("ada", "ben", "ada", "ben"):
            assert captioner.caption(voice, 16_000, user=user).unverified_reason is None
    assert fake.connections <= 3, "of default, of ada and of ben"


def test_invalid_user_names_are_refused(voice: Voice) -> None:
    with Captioner() as captioner, pytest.raises(UserNameRefused):
        captioner.caption(voice, 16_000, user="a\nb")


def test_forgotten_user_begins_again(voice: Voice) -> None:
    with Captioner() as captioner:
        captioner.caption(voice, 16_000, user="ada")
        captioner.forget_user("Ada")
        profile = captioner.profile_of("ada")
        assert profile is not None
        assert profile.num_clips == 0
        captioner.forget_user("nobody")


def test_captions_of_unnamed_people_are_made_at_once(voice: Voice) -> None:
    with Captioner(MeetingDrafter(2)) as captioner, ThreadPoolExecutor(2) as threads:
        both = [threads.submit(captioner.caption, voice, 16_000) for _ in range(2)]
        assert len({caption.result(20).text for caption in both}) == 1


def test_captions_of_two_users_are_made_at_once(voice: Voice) -> None:
    with Captioner(MeetingDrafter(2)) as captioner, ThreadPoolExecutor(2) as threads:
        both = [threads.submit(captioner.caption, voice, 16_000, user=u) for u in ("ada", "ben")]
        assert all(caption.result(20).text for caption in both)


def test_captions_with_one_profile_take_turns(voice: Voice) -> None:
    running, most = [], []

    class Counting(ScriptedDrafter):
        def encode(self, *arguments: Any) -> Any:
            running.append(1)
            most.append(len(running))
            encoded = super().encode(*arguments)
            threading.Event().wait(0.005)
            running.pop()
            return encoded

    profile = Profile()
    with Captioner(Counting(seed=3)) as captioner, ThreadPoolExecutor(4) as threads:
        for caption in [
            threads.submit(captioner.caption, voice, 16_000, profile=profile) for _ in range(12)
        ]:
            caption.result(20)
    assert max(most) == 1


def test_connections_of_many_users_are_closed() -> None:
    class Links:
        def __init__(self) -> None:
            self.is_connected = False

        def start_connecting(self) -> None:
            self.is_connected = True

        def disconnect(self) -> None:
            self.is_connected = False

    class Pipeline:
        def __init__(self, user: str) -> None:
            self.links, self.is_closed = Links(), False
            self.is_disposable = not user.startswith("kept")

        def close(self) -> None:
            self.is_closed = True

    made: dict[str, Pipeline] = {}

    def new(user: str) -> Any:
        made[user] = Pipeline(user)
        return made[user]

    pipelines = UserPipelines(new, most_connected=3, most_users=6)
    with pipelines.captioning("busy"):
        for name in ["kept", *map(str, range(20))]:
            with pipelines.captioning(name):
                pass
        assert not made["busy"].is_closed
        assert made["busy"].links.is_connected
    connected = [name for name, one in made.items() if one.links.is_connected and not one.is_closed]
    assert set(connected) == {"busy", "18", "19"}
    assert not made["kept"].is_closed
    assert made["0"].is_closed
    assert not made["19"].is_closed


def test_one_ledger_holds_all_users(new_captioner: New, voice: Voice, tmp_path: Path) -> None:
    from ugsd_sdk.home import Home

    limits = BudgetLimits()
    with new_captioner(config=Settings(limits=limits)) as captioner:
        with ThreadPoolExecutor(4) as threads:
            names = [f"user{index % 4}" for index in range(12)]
            captions = list(
                threads.map(lambda name: captioner.caption(voice, 16_000, user=name), names)
            )
        assert [c.unverified_reason for c in captions] == [None] * 12
    with Home(tmp_path / "home").open_ledger() as ledger, ledger.reading() as view:
        sent = {total.user: total for total in view.totals() if total.window == "lifetime"}
    assert set(sent) >= {"user0", "user1", "user2", "user3"}
    blocks = [sent[f"user{index}"].usage.blocks for index in range(4)]
    assert blocks == [3 * captions[0].usage.num_blocks] * 4
