"""Reports name the emotions that a verifier most likely reads from the numbers sent."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_privacy.reports.html import report_html
from ugsd_privacy.reports.markdown import report_markdown
from ugsd_privacy.reports.readings import READING_NOTE, Reading, reading_text
from ugsd_privacy.reports.schema import read_report

from tests.privacy.reports.report_specimen import REPORT
from tests.privacy.reports.report_world import report_of, send

READING = "Emotions read from the numbers: fearful .62, surprised .21"
HOSTILE = "<script>alert(1)</script>|*x*"


def fearful(projection: bytes, state: NDArray[np.float32]) -> Mapping[str, float]:
    return {"fearful": 0.6204, "surprised": 0.2101, "happy": 0.0906, "sad": 0.0789}


def with_readings(*readings: Reading):
    first, *rest = REPORT.captions
    captions = (first.model_copy(update={"readings": readings}), *rest)
    return REPORT.model_copy(update={"captions": captions})


@pytest.mark.parametrize("form", [report_html, report_markdown])
def test_reports_show_readings_beside_the_words(world, form) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress))
    found = report_of(world, read_state=fearful)
    page = form(found)
    row = next(line for line in page.splitlines() if READING in line)
    assert "happy" not in row, "unlikely values are not listed"
    assert READING_NOTE in page
    assert read_report(found.model_dump_json().encode()) == found
    shared = form(found.redacted())
    assert "from the numbers" not in shared
    assert "fearful" not in shared
    assert "fearful" not in found.redacted().model_dump_json()


@pytest.mark.parametrize("form", [report_html, report_markdown])
def test_without_reading_nothing_is_said(world, form) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress))
    found = report_of(world)
    assert found.total.states
    assert found.captions[0].readings == ()
    assert "from the numbers" not in form(found)


def test_noised_state_is_read_as_it_may_have_been(world) -> None:
    seen: list[NDArray[np.float32]] = []

    def read(projection: bytes, state: NDArray[np.float32]) -> Mapping[str, float]:
        seen.append(state)
        return fearful(projection, state)

    egress = world.egress(sigma=8.0)
    send(world, egress, world.connect(egress))
    (row,) = report_of(world, read_state=read).captions
    assert len(seen) > 1
    assert np.allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-6)
    assert {one.sigma for one in row.readings} == {8.0}
    assert reading_text(row.readings[0].probabilities, 8.0).endswith("with noise of sigma 8")


def test_same_reading_is_listed_once(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    send(world, egress, caption)
    send(world, egress, caption, keep=4, tokens=(9,))
    (row,) = report_of(world, read_state=fearful).captions
    assert len(row.readings) == 1


def test_many_readings_are_counted() -> None:
    readings = [
        Reading(position=at, sigma=None, probabilities={"sad": 0.9 - at / 100}) for at in range(5)
    ]
    page = report_html(with_readings(*readings))
    assert "sad .90; sad .89; sad .88; and 2 other readings" in page


def test_hostile_value_is_escaped() -> None:
    report = with_readings(Reading(position=0, sigma=None, probabilities={HOSTILE: 1.0}))
    assert HOSTILE not in report_html(report)
    assert HOSTILE not in report_markdown(report)


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1), min_size=1),
    st.none() | st.floats(0.01, 100),
)
def test_likeliest_value_is_always_named(probabilities: dict[str, float], sigma) -> None:
    text = reading_text(probabilities, sigma)
    value, share = text.split(",")[0].split(" ")
    assert probabilities[value] == max(probabilities.values())
    assert float(share) == pytest.approx(probabilities[value], abs=0.0051)
    assert ("noise" in text) == (sigma is not None)
