"""A picture of utility against leakage, with a marker for each way of making states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ugsd_lab.attacks.candidates import SCORES_ONLY
from ugsd_lab.attacks.states import Row, pareto, picks
from ugsd_lab.evaluation.plots import STYLE, check_picture, save_picture

__all__ = ["draw_states"]

_MARKS: dict[str, dict[str, Any]] = {
    "within-speaker PCA": {"color": "#0072B2", "marker": "o"},
    "LEACE, PCA": {"color": "#56B4E9", "marker": "v"},
    "discriminant": {"color": "#D55E00", "marker": "s"},
    "discriminant, not words": {"color": "#009E73", "marker": "^"},
    "trained": {"color": "#CC79A7", "marker": "D"},
    "adversarial": {"color": "#E69F00", "marker": "P"},
    SCORES_ONLY: {"color": "#000000", "marker": "*"},
}
_SIZE_INCHES = (10.0, 6.0)


def draw_states(path: Path, rows: Sequence[Row]) -> None:
    """Draw the rows. Filled markers have the profile subtracted, hollow ones do not; black edges
    mean that the state contains scores, and small markers a projection that is fitted on other
    corpora than the first row's. The number is the number of coordinates.

    Raises :class:`EvaluationError` if ``path`` cannot be written.
    """
    check_picture(path)
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        labelled: set[str] = set()
        first = next((row.candidate.corpora for row in rows if row.candidate.corpora), ())
        for row in rows:
            one = row.candidate
            style = dict(_MARKS[one.kind])
            if not one.subtracts_profile:
                style["markerfacecolor"] = "white"
            if one.scores:
                style["markeredgecolor"] = "black"
            style["markersize"] = 7 if one.corpora in ((), first) else 5
            label = "_" if one.kind in labelled else one.kind
            axes.plot(row.leakage, row.emotion, linestyle="", label=label, **style)
            note = "".join([str(one.dim) if one.dim else "", f" σ{one.sigma}" if one.sigma else ""])
            axes.annotate(
                note, (row.leakage, row.emotion), xytext=(4, 3), textcoords="offset points",
                fontsize=6,
            )  # fmt: skip
            labelled.add(one.kind)
        front = sorted(pareto(rows), key=lambda row: row.leakage)
        axes.plot(
            [row.leakage for row in front], [row.emotion for row in front],
            color="#555555", linewidth=1.0, linestyle="--", label="Pareto front", zorder=0,
        )  # fmt: skip
        for chosen in picks(rows):
            axes.plot(
                chosen.leakage, chosen.emotion, linestyle="", marker="o", markersize=15,
                markerfacecolor="none", markeredgecolor="black",
                label=f"picked: {chosen.candidate}",
            )  # fmt: skip
        axes.set_xlabel("leakage: attackers' mean advantage, speaker and sentence (0 is chance)")
        axes.set_ylabel("accuracy of emotion from states")
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        save_picture(figure, path)
