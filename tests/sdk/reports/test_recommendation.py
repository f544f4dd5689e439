"""``ugsd privacy recommend``: what is chosen, what it gives up, and settings that load."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import pytest
import ugsd_sdk
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.cli import main
from ugsd_sdk.decoding.measured_frontier import FRONTIER_FILE, MeasuredFrontier, MeasuredSetting
from ugsd_sdk.decoding.risk_calibration import weight_hashes
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.reports.recommendation import Recommendation, Wish, recommended
from ugsd_sdk.settings.config import Settings

from tests.doubles.measured_settings import frontier_with, setting

STARTER = Path(ugsd_sdk.__file__).parent / "starter"
ALONE = setting(0.5)
TOKENS = setting(0.5, 0.01, 0.5, disclosure=Disclosure.TOKENS)
NOISED = setting(0.6, 0.05, 0.5, sigma=1.5)
PLAIN = setting(0.7, 0.1, 0.5)
ALWAYS = setting(0.65, 0.2, 1.0)
FRONTIER = frontier_with(ALONE, TOKENS, NOISED, PLAIN, ALWAYS)

shares = st.integers(0, 10).map(lambda tenths: tenths / 10)
sigmas = st.none() | st.sampled_from([0.1, 0.5, 1.0, 4.0])
asking = st.builds(
    lambda emotion, leakage, sent, sigma: setting(emotion, leakage, sent, sigma=sigma),
    shares, shares, shares.filter(bool), sigmas,
)  # fmt: skip
frontiers = st.lists(asking, max_size=12).map(lambda some: frontier_with(ALONE, *some))
wishes = st.builds(
    Wish,
    quality=st.none() | shares,
    max_bytes=st.sampled_from([inf, 0.0, 30.0, 64.0]),
    max_epsilon=st.sampled_from([inf, 0.0, 3.0, 30.0]),
    max_leakage=st.just(inf) | shares,
)


def chosen(wish: Wish, frontier: MeasuredFrontier = FRONTIER) -> MeasuredSetting:
    return recommended(wish, frontier).chosen


@given(wishes, frontiers)
def test_recommended_setting_fulfils_the_wish(wish: Wish, frontier: MeasuredFrontier) -> None:
    def emotion(one: MeasuredSetting) -> float:
        return one.figures[wish.domain].emotion

    try:
        found = chosen(wish, frontier)
    except ConfigError:
        possible = [emotion(one) for one in frontier.settings if wish.allows(one)]
        assert wish.quality is not None
        assert wish.quality > max(possible)
        return
    assert wish.allows(found)
    assert emotion(found) >= (wish.quality or 0)
    assert not any(one.dominates(found, wish.domain) for one in frontier.settings)


@given(wishes, frontiers)
def test_nothing_allowed_is_better(wish: Wish, frontier: MeasuredFrontier) -> None:
    most = replace(wish, quality=None)
    found = chosen(most, frontier)
    for other in filter(most.allows, frontier.settings):
        assert other.figures["both"].emotion <= found.figures["both"].emotion
        if wish.quality is not None and other.figures["both"].emotion >= wish.quality:
            assert chosen(wish, frontier).exposure("both") <= other.exposure("both")


@given(wishes.filter(lambda wish: wish.quality is None), frontiers)
def test_printed_lines_are_settings(wish: Wish, frontier: MeasuredFrontier) -> None:
    found = recommended(wish, frontier)
    settings = Settings(**found.settings())
    assert settings.sigma == found.chosen.sigma
    if found.chosen.min_gain is None:
        assert settings.min_gain == 1, "no gain exceeds it"
    else:
        assert settings.min_gain == found.chosen.min_gain
        assert settings.disclosure is found.chosen.disclosure


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish(), PLAIN),
        (Wish(quality=0.55), NOISED),
        (Wish(quality=0.5), ALONE),
        (Wish(max_epsilon=10), NOISED),
        (Wish(max_epsilon=0), ALONE),
        (Wish(max_leakage=0.06), NOISED),
        (Wish(max_bytes=10), ALONE),
    ],
)
def test_wishes_choose_these_settings(wish: Wish, expected: MeasuredSetting) -> None:
    assert chosen(wish) == expected


def test_what_is_given_up_lies_between_both_ends() -> None:
    found = recommended(Wish(quality=0.55), FRONTIER)
    assert (found.best, found.most_private) == (PLAIN, ALONE)
    text = " ".join(found.text().split())
    assert "of quality 0.10: min_gain 0.1 with no noise gave 0.70" in text
    assert "of privacy leakage 0.050, epsilon 6." in text
    assert (
        "for +0.10 (+0.00 to +0.50) of quality: the drafter alone gave 0.50 (0.50 to 0.50); this "
        in text
    )
    assert "a guarantee of privacy" in text
    best = " ".join(recommended(Wish(), FRONTIER).text().split())
    assert "of quality nothing" in best
    assert "no bound: states are sent without noise" in best
    private = " ".join(recommended(Wish(max_bytes=0), FRONTIER).text().split())
    assert "of privacy nothing: nothing is sent" in private


def test_large_epsilon_is_called_noise() -> None:
    found = recommended(Wish(), frontier_with(ALONE, setting(0.6, 0.05, 0.5, sigma=0.25)))
    assert "this is noise, not privacy" in " ".join(found.text().split())


@pytest.mark.parametrize(
    ("wish", "hints"),
    [
        (Wish(quality=0.9), ["--quality 0.7", "without limits the best is 0.7"]),
        (Wish(quality=0.68, max_bytes=10), ["the drafter alone, with 0.5", "no bound", "64 bytes"]),
    ],
)
def test_impossible_wish_names_the_nearest(wish: Wish, hints: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        recommended(wish, FRONTIER)
    for hint in hints:
        assert hint in str(raised.value)


def test_unmeasured_domain_names_the_measured_ones() -> None:
    with pytest.raises(ConfigError, match="for this drafter: use in"):
        recommended(Wish(domain="out"), frontier_with(setting(0.5, domains=["in"])))


@pytest.mark.parametrize(
    "values",
    [{"quality": 1.1}, {"quality": nan}, {"max_bytes": -1.0}, {"max_epsilon": nan}],
)
def test_impossible_limits_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values)).replace("_", "-")):
        Wish(**values)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A drafter with a table of its own."""
    shutil.copytree(STARTER.parent / "audio_encoder", tmp_path / "audio_encoder")
    copy = tmp_path / "drafter"
    shutil.copytree(STARTER, copy, ignore=shutil.ignore_patterns("clips"))
    table = frontier_with(*FRONTIER.settings, weights=weight_hashes(copy))
    (copy / FRONTIER_FILE).write_text(table.model_dump_json())
    return copy


def recommend(folder: Path, *arguments: str) -> int:
    return main(["privacy", "recommend", "--drafter", str(folder), *arguments])


@pytest.mark.parametrize(
    "arguments", [[], ["--quality", "0.55"], ["--max-bytes", "0"], ["--max-epsilon", "10"]]
)
def test_printed_toml_loads(
    folder: Path, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recommend(folder, *arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    file = tmp_path / "ugsd.toml"
    file.write_text(f"{found['toml']}\n")
    settings = Settings.load(file)
    assert settings.min_gain == found["settings"]["min_gain"]
    assert recommend(folder, *arguments) == 0
    assert f"\n\n{found['toml']}\n\n" in capsys.readouterr().out


def test_json_has_both_ends(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recommend(folder, "--quality", "0.55", "--domain", "in", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["domain"] == "in"
    assert found["chosen"]["figures"]["emotion"] == 0.6
    assert found["best_quality"]["epsilon"] is None
    assert found["most_private"]["figures"]["bytes_sent"] == 0


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--quality", "0.9"], "ask for --quality 0.7"),
        (["--quality", "2"], "share from 0 to 1"),
        (["--max-bytes", "-1"], "--max-bytes"),
        (["--domain", "home"], "must be in, out or both"),
    ],
)
def test_refused_wish_ends_with_usage_error(
    folder: Path, arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recommend(folder, *arguments) == 2
    printed = capsys.readouterr()
    assert hint in " ".join(printed.err.split())
    assert printed.out == ""


def test_other_weights_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = json.loads((folder / FRONTIER_FILE).read_text())
    table["weights"]["gate.json"] = "0" * 64
    (folder / FRONTIER_FILE).write_text(json.dumps(table))
    assert recommend(folder) == 2
    assert "ugsd-lab frontier" in capsys.readouterr().err
    (folder / FRONTIER_FILE).unlink()
    assert recommend(folder) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_table_of_other_release_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = json.loads((folder / FRONTIER_FILE).read_text())
    (folder / FRONTIER_FILE).write_text(json.dumps(table | {"format": 0}))
    assert recommend(folder) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "was measured by another release, or is damaged: reinstall ugsd" in printed


@pytest.mark.parametrize("drafter", ["starter", "free"])
def test_bundled_table_fits_the_bundled_weights(drafter: str) -> None:
    path = STARTER.parent / drafter / FRONTIER_FILE
    table = MeasuredFrontier.load(path.parent)
    assert path.stat().st_size < 60_000
    assert set(table.populations) == {"in", "out", "both"}
    assert isinstance(recommended(Wish(), table), Recommendation)


def test_table_whose_drafter_alone_discloses_is_refused() -> None:
    leaking = setting(0.5, 0.1, 0.5).model_copy(update={"min_gain": None})
    with pytest.raises(ValueError, match="the drafter alone discloses nothing"):
        frontier_with(leaking, PLAIN)
