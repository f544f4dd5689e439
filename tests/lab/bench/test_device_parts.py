"""The parts of a caption are timed on a bundled clip."""

from __future__ import annotations

from pathlib import Path

import ugsd_sdk
from ugsd_lab.bench.device import _python
from ugsd_lab.bench.device_parts import FRESH_PARTS, fresh_figures, measure_parts

CLIP = Path(ugsd_sdk.__file__).parent / "starter" / "clips" / "16a04Ab.opus"
MADE_UP = ["[100, 200, 300, 400]", "[900, 900, 900, 900]"]


def test_every_warm_part_takes_time() -> None:
    stages = []

    figures = measure_parts(CLIP, 1, lambda stage, done, of, note: stages.append((done, of)))

    assert stages == [(1, 2), (2, 2)]
    assert len({figure.name for figure in figures}) == 5
    assert all(figure.value > 0 and figure.unit == "ms" for figure in figures)


def test_fresh_process_prints_the_seconds_of_its_parts() -> None:
    figures = fresh_figures([_python("-c", FRESH_PARTS, str(CLIP)), *MADE_UP])

    assert [figure.value for figure in figures] == [100, 200, 300, 400]
