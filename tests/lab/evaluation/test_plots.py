"""Pictures: their text, their reproducibility, and rejected file names."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation.curves import CorpusCurves, Curve, Point
from ugsd_lab.evaluation.metrics import Confusion, confusion
from ugsd_lab.evaluation.plots import check_picture, draw_evaluation

NAMES = ("rejection predictor", "entropy threshold", "random", "fixed block", "oracle")


def curves(corpus: str, quality: float = 0.5) -> CorpusCurves:
    alone, everything = Point(0, 0, 0.3), Point(0.7, 1, 0.6)
    lines = tuple(
        Curve(name, (alone, Point(0.3, 0.3, 0.4 + i / 50), everything))
        for i, name in enumerate(NAMES)
    )
    return CorpusCurves(
        corpus, "in-domain", 40, alone, everything, Point(0.3, 0.3, 0.5), lines, quality
    )


def confusions() -> dict[str, Confusion]:
    found = confusion(["sounds sad", "sounds angry", "speaks"], ["sad", "sad", "angry"])
    return dict.fromkeys(("drafter alone", "UGSD", "verifier on every token"), found)


def texts(path: Path) -> set[str]:
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}


def test_svg_names_axes_lines_corpora_and_systems(tmp_path: Path) -> None:
    path = tmp_path / "curve.svg"
    both = [curves("emodb"), curves("nemo", float("nan"))]
    draw_evaluation(path, both, {"emodb": confusions(), "nemo": confusions()})
    found = texts(path)
    assert {*NAMES, "drafter alone", "UGSD as shipped", "escalate everything"} <= found
    assert {"share of tokens that were disclosed", "captions with the right emotion"} <= found
    assert {"emotion named", "label", "angry", "sad", "none"} <= found
    assert "emodb (in-domain), 40 clips; predictor quality 0.50" in found
    assert "nemo (in-domain), 40 clips" in found  # NaN is not printed
    assert "nemo: verifier on every token" in found
    assert not {"other", "several"} & found  # unused columns are omitted


@pytest.mark.parametrize("name", ["curve.svg", "CURVE.PNG"])
def test_the_same_result_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    pictures = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / name
        draw_evaluation(path, [curves("emodb")], {"emodb": confusions()})
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1]
    assert pictures[0][:8] == b"\x89PNG\r\n\x1a\n" or pictures[0][:5] == b"<?xml"


def test_empty_row_of_a_confusion_matrix_is_drawn(tmp_path: Path) -> None:
    nothing = Confusion(("sad",), ("sad", "other"), np.zeros((1, 2), dtype=np.int64))
    path = tmp_path / "a.png"
    draw_evaluation(path, [curves("x")], {"x": {"UGSD": nothing}})
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("name", ["curve.pdf", "curve", ".svg", "curve.svg.txt"])
def test_other_suffix_is_rejected_before_drawing(tmp_path: Path, name: str) -> None:
    with pytest.raises(EvaluationError, match=r"\.svg or \.png"):
        check_picture(tmp_path / name)


def test_unwritable_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="make it first"):
        check_picture(tmp_path / "none" / "curve.svg")
    (tmp_path / "curve.svg").mkdir()
    with pytest.raises(EvaluationError, match="name another file"):
        draw_evaluation(tmp_path / "curve.svg", [curves("x")], {"x": confusions()})
