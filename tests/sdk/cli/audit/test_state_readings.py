"""``ugsd audit show --content`` and ``report`` name the emotions read from states."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_sdk.attributes.slots import EMOTIONS
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.bundle import BUNDLED, DrafterBundle
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.drafter.state_reading import StateReading
from ugsd_sdk.errors import ModelError
from ugsd_sdk.reports.state_readings import state_reader
from ugsd_sdk.settings.config import Settings

from tests.doubles.state_readings import drafter_folder, reading_fields
from tests.sdk.cli.audit.commands import Out, audit


@pytest.fixture
def folder(drafter: ScriptedDrafter, tmp_path: Path) -> Path:
    """A drafter that reads the states of the home's."""
    dim, projection = drafter.info.state_dim, drafter.info.projection
    return drafter_folder(
        tmp_path / "drafter", reading_fields(dim), state_dim=dim, projection=projection
    )


@pytest.fixture
def noised_home(
    new_captioner: Callable[..., Captioner], voice: NDArray[np.float32], tmp_path: Path
) -> Path:
    with new_captioner(config=Settings(user="ada", noise={"sigma": 0.5})) as captioner:
        assert captioner.caption(voice, 16_000).unverified_reason is None
    return tmp_path / "home"


def show(home: Path, capsys: Out, *arguments: str | Path) -> str:
    capsys.readouterr()
    assert audit("show", "--content", *arguments, home=home) == 0
    return capsys.readouterr().out


def test_each_state_is_followed_by_its_reading(home: Path, folder: Path, capsys: Out) -> None:
    lines = show(home, capsys, "--drafter", folder).splitlines()
    after = [lines[at + 1] for at, line in enumerate(lines) if line.startswith("  state")]
    assert after
    for line in after:
        assert re.fullmatch(r"    a verifier reads: [a-z]+ \d?\.\d\d(, [a-z]+ \.\d\d){0,2}", line)
        assert line.split()[3] in EMOTIONS


def test_reading_of_noised_state_names_noise(noised_home: Path, folder: Path, capsys: Out) -> None:
    printed = show(noised_home, capsys, "--drafter", folder)
    lines = [line for line in printed.splitlines() if "a verifier reads" in line]
    assert lines
    assert all(line.endswith(", with noise of sigma 0.5") for line in lines)


def test_json_has_the_network_s_probabilities(home: Path, folder: Path, capsys: Out) -> None:
    reading = StateReading.load(DrafterBundle(folder))
    assert reading is not None
    rows = map(json.loads, show(home, capsys, "--json", "--drafter", folder).splitlines())
    contents = [row["content"] for row in rows if row["content"] is not None]
    states = [state for content in contents for state in content.get("states", ())]
    assert states
    for state in states:
        expected = reading.read(np.array(state["numbers"], dtype=np.float32))
        assert state["reading"] == pytest.approx(expected, abs=0.002)
        assert all(round(share, 3) == share for share in state["reading"].values())


@pytest.mark.parametrize("state_dim", [4, 7])
def test_numbers_alone_without_fitting_reading(
    home: Path, tmp_path: Path, capsys: Out, state_dim: int
) -> None:
    """The drafter has no file, or one about states of another size."""
    fields = None if state_dim == 4 else reading_fields(state_dim)
    projection = ScriptedDrafter().info.projection
    other = drafter_folder(tmp_path / "other", fields, state_dim=state_dim, projection=projection)
    printed = show(home, capsys, "--drafter", other)
    assert "  state   0  " in printed
    assert "a verifier reads" not in printed
    assert '"reading": null' in show(home, capsys, "--json", "--drafter", other)


WARNING = "the reading of the numbers is unavailable: "


def test_damaged_reading_does_not_hide_the_numbers(
    send_caption: Callable[[], None], home: Path, folder: Path, capsys: Out
) -> None:
    send_caption()
    (folder / "state_reading.json").write_text("{}")
    capsys.readouterr()
    assert audit("show", "--content", "--drafter", folder, home=home) == 0
    printed = capsys.readouterr()
    assert printed.out.count("  state   0  ") > 1
    assert "a verifier reads" not in printed.out
    assert printed.err.count(WARNING) == 1
    assert "state_reading.json" in printed.err
    assert '"reading": null' in show(home, capsys, "--json", "--drafter", folder)


def test_damaged_reading_does_not_hide_the_report(home: Path, folder: Path, capsys: Out) -> None:
    (folder / "state_reading.json").write_text("{}")
    capsys.readouterr()
    command = ("report", "--user", "ada", "--format", "json", "--drafter", folder)
    assert audit(*command, home=home) == 0
    printed = capsys.readouterr()
    (caption, *_) = json.loads(printed.out)["captions"]
    assert caption["content"]
    assert caption["readings"] == []
    assert printed.err.count(WARNING) == 1


def projection_of(bundle: DrafterBundle) -> bytes:
    return bytes.fromhex(bundle.description().projection)


@pytest.mark.parametrize("named", BUNDLED)
def test_projection_chooses_the_bundled_drafter(named: str) -> None:
    read, (starter, free) = (
        state_reader(named, pytest.fail),
        map(DrafterBundle.of, ("starter", "free")),
    )
    reading = StateReading.load(starter)
    assert reading is not None
    state = np.full(reading.state_dim, 0.2, dtype=np.float32)
    assert read(projection_of(starter), state) == reading.read(state)
    assert read(projection_of(starter), state[1:]) is None
    assert read(projection_of(free), state) is None, "it has no reading"
    assert read(bytes(32), state) is None, "nobody knows what the numbers are"


def test_folder_s_drafter_reads_its_projection_alone(folder: Path) -> None:
    read, state = state_reader(str(folder), pytest.fail), np.full(4, 0.2, dtype=np.float32)
    assert read(projection_of(DrafterBundle(folder)), state) is not None
    assert read(projection_of(DrafterBundle.of("starter")), state) is None
    with pytest.raises(ModelError):
        state_reader(str(folder / "missing"), pytest.fail)(bytes(32), state)
