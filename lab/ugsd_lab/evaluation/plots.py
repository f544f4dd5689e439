"""Pictures of an evaluation: emotion accuracy against disclosure, and confusion matrices.

The same result gives the same bytes. Lines differ by dash and marker as well as by colour, and the
colours are Okabe and Ito's, which colour-blind readers can distinguish.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ugsd_lab.errors import EvaluationError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ugsd_lab.evaluation.curves import CorpusCurves
    from ugsd_lab.evaluation.metrics import Confusion

__all__ = ["STYLE", "SUFFIXES", "check_picture", "draw_evaluation", "save_picture"]

SUFFIXES = (".svg", ".png")
_METADATA: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".png": {"Software": None}}

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "ugsd",
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
}
_LINES: dict[str, dict[str, Any]] = {
    "rejection predictor": {"color": "#0072B2", "marker": "o", "linewidth": 2.2},
    "entropy threshold": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "random": {"color": "#555555", "marker": "x", "linestyle": ":"},
    "fixed block": {"color": "#009E73", "marker": "^", "linestyle": "-."},
    "oracle": {"color": "#000000", "linewidth": 0.9, "linestyle": (0, (6, 2))},
}
_POINTS: dict[str, dict[str, Any]] = {
    "drafter alone": {"marker": "D", "markersize": 7},
    "UGSD as shipped": {"marker": "o", "markersize": 11, "markeredgecolor": "#0072B2"},
    "escalate everything": {"marker": "*", "markersize": 13},
}
_WIDTH_INCHES, _CURVE_INCHES, _MATRIX_INCHES = 11.0, 3.9, 3.5
_LEAST_SPAN = 0.3
"""Smallest range of the accuracy axis, so that a few captions do not look like a cliff."""
_DARK = 0.55
"""Share of a row above which the number in its cell is white."""


def check_picture(path: Path) -> None:
    """Raise :class:`EvaluationError` if no picture can be written to ``path``."""
    if path.suffix.lower() not in SUFFIXES:
        raise EvaluationError(f"{path}: name a file that ends in {' or '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise EvaluationError(f"{path}: there is no folder {path.parent}; make it first")


def draw_evaluation(
    path: Path,
    curves: Sequence[CorpusCurves],
    confusions: Mapping[str, Mapping[str, Confusion]],
) -> None:
    """Draw, for each corpus, its curves and below them the confusion matrix of each system.

    Raises :class:`EvaluationError` if ``path`` cannot be written.
    """
    check_picture(path)
    with _figure(curves, confusions) as figure:
        save_picture(figure, path)


def save_picture(figure: Figure, path: Path) -> None:
    """Write ``figure`` in the format of the suffix of ``path``.

    Raises :class:`EvaluationError` if it cannot be written.
    """
    suffix = path.suffix.lower()
    try:
        figure.savefig(path, format=suffix[1:], dpi=150, metadata=_METADATA[suffix])
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}; name another file") from error


@contextmanager
def _figure(
    curves: Sequence[CorpusCurves], confusions: Mapping[str, Mapping[str, Confusion]]
) -> Iterator[Figure]:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        height = (_CURVE_INCHES + _MATRIX_INCHES) * len(curves)
        figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
        FigureCanvasAgg(figure)
        for part, corpus in zip(
            figure.subfigures(len(curves), squeeze=False).flat, curves, strict=True
        ):
            upper, lower = part.subfigures(2, height_ratios=(_CURVE_INCHES, _MATRIX_INCHES))
            _draw_curves(upper.subplots(), corpus)
            matrices = confusions[corpus.corpus]
            panels = lower.subplots(1, len(matrices), squeeze=False).flat
            shown = _columns(list(matrices.values()))
            for panel, (system, matrix) in zip(panels, matrices.items(), strict=True):
                _draw_confusion(panel, f"{corpus.corpus}: {system}", matrix, shown)
        yield figure


def _draw_curves(axes: Axes, corpus: CorpusCurves) -> None:
    for curve in corpus.curves:
        shares = [point.disclosed for point in curve.points]
        right = [point.emotion for point in curve.points]
        style = {"linewidth": 1.4, "markersize": 4.5, **_LINES[curve.name]}
        axes.plot(shares, right, label=curve.name, **style)
    for point, (name, style) in zip(
        (corpus.alone, corpus.shipped, corpus.everything), _POINTS.items(), strict=True
    ):
        outline = {"color": "black", "markerfacecolor": "white", "zorder": 5, **style}
        axes.plot(point.disclosed, point.emotion, linestyle="", label=name, **outline)
    quality = (
        ""
        if np.isnan(corpus.predictor_quality)
        else f"; predictor quality {corpus.predictor_quality:.2f}"
    )
    axes.set_title(f"{corpus.corpus} ({corpus.domain}), {corpus.clips} clips{quality}")
    axes.set_xlabel("share of tokens that were disclosed")
    axes.set_ylabel("captions with the right emotion")
    axes.set_xlim(-0.02, 1.02)
    low, high = axes.get_ylim()
    spare = max(0.0, _LEAST_SPAN - (high - low)) / 2
    axes.set_ylim(max(-0.02, low - spare), min(1.02, high + spare))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def _columns(matrices: Sequence[Confusion]) -> list[int]:
    """Return the columns of the labels, and of other values that some system named."""
    first = matrices[0]
    used = np.any([matrix.counts.any(axis=0) for matrix in matrices], axis=0)
    return [i for i in range(len(first.named)) if i < len(first.labels) or used[i]]


def _draw_confusion(axes: Axes, title: str, confusion: Confusion, shown: Sequence[int]) -> None:
    """Draw a matrix: grey shows the share of a label's clips, the number their count. ``shown`` are
    the indices of the columns."""
    axes.set_title(title)
    axes.set_xlabel("emotion named")
    axes.set_ylabel("label")
    counts = confusion.counts[:, shown]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1, aspect="equal")
    axes.set_xticks(range(len(shown)), [confusion.named[i] for i in shown], rotation=45, ha="right")
    axes.set_yticks(range(len(confusion.labels)), confusion.labels)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for row, column in np.argwhere(counts):
        axes.text(
            column, row, str(counts[row, column]), ha="center", va="center",
            color="white" if shares[row, column] > _DARK else "black",
        )  # fmt: skip
