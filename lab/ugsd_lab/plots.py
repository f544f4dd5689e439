"""Pictures of an evaluation: quality against disclosure, and which emotion is taken for which.

The same result gives the same bytes. Lines differ by dash and marker as well as by colour, and the
colours are Okabe and Ito's, which colour-blind readers can tell apart.
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
    from ugsd_lab.metrics import Confusion

__all__ = ["SUFFIXES", "check_picture", "draw_evaluation"]

SUFFIXES = (".svg", ".png")
_METADATA: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".png": {"Software": None}}

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "ugsd",
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
}
_LINES: dict[str, dict[str, Any]] = {
    "UGSD's gate": {"color": "#0072B2", "marker": "o", "linewidth": 2.2},
    "entropy gate": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "random": {"color": "#555555", "marker": "x", "linestyle": ":"},
    "fixed block": {"color": "#009E73", "marker": "^", "linestyle": "-."},
    "oracle": {"color": "#000000", "linewidth": 0.9, "linestyle": (0, (6, 2))},
}
_PANEL_INCHES = 4.6
_DARK = 0.55
"""Share of a row above which its cell is written in white."""


def check_picture(path: Path) -> None:
    """Raises :class:`EvaluationError` where no picture can be written to ``path``."""
    if path.suffix.lower() not in SUFFIXES:
        raise EvaluationError(f"{path}: name a file that ends in {' or '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise EvaluationError(f"{path}: there is no folder {path.parent}; make it first")


def draw_evaluation(
    path: Path,
    curves: Sequence[CorpusCurves],
    confusions: Mapping[str, Mapping[str, Confusion]],
) -> None:
    """A column for each corpus: its curves above, below them each arm's confusion matrix.

    Raises :class:`EvaluationError` where ``path`` cannot be written.
    """
    check_picture(path)
    with _figure(curves, confusions) as figure:
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

    with mpl.rc_context(_STYLE):
        rows = 1 + max(len(confusions[of.corpus]) for of in curves)
        size = (_PANEL_INCHES * len(curves), _PANEL_INCHES * 0.95 * rows)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, len(curves), squeeze=False)
        for column, of in enumerate(curves):
            _draw_curves(panels[0, column], of)
            for row, (arm, confusion) in enumerate(confusions[of.corpus].items(), 1):
                _draw_confusion(panels[row, column], f"{of.corpus}: {arm}", confusion)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        yield figure


def _draw_curves(axes: Axes, of: CorpusCurves) -> None:
    for curve in of.curves:
        shares = [point.disclosed for point in curve.points]
        right = [point.emotion for point in curve.points]
        style = {"linewidth": 1.4, "markersize": 4.5, **_LINES[curve.name]}
        axes.plot(shares, right, label=curve.name, **style)
    for name, point, marker in (
        ("drafter alone", of.alone, "D"),
        ("escalate everything", of.everything, "*"),
    ):
        axes.plot(
            point.disclosed, point.emotion, marker, label=name, color="black",
            markerfacecolor="white", markersize=11 if marker == "*" else 7, zorder=5,
        )  # fmt: skip
    quality = "" if np.isnan(of.gate_quality) else f"; gate quality {of.gate_quality:.2f}"
    axes.set_title(f"{of.corpus} ({of.where}), {of.clips} clips{quality}")
    axes.set_xlabel("share of tokens that left the device")
    axes.set_ylabel("captions with the right emotion")
    axes.set_xlim(-0.02, max(1.0, of.everything.disclosed) + 0.02)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_confusion(axes: Axes, title: str, confusion: Confusion) -> None:
    """Rows are shares of a label's clips; what is never named beyond the labels is left out."""
    axes.set_title(title)
    axes.set_xlabel("emotion named")
    axes.set_ylabel("label")
    labels = len(confusion.labels)
    shown = [i for i in range(len(confusion.named)) if i < labels or confusion.counts[:, i].any()]
    counts = confusion.counts[:, shown]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(shown)), [confusion.named[i] for i in shown], rotation=45, ha="right")
    axes.set_yticks(range(labels), confusion.labels)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for row, column in np.argwhere(counts):
        axes.text(
            column, row, str(counts[row, column]), ha="center", va="center",
            color="white" if shares[row, column] > _DARK else "black",
        )  # fmt: skip
