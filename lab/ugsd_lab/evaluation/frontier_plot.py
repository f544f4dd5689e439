"""The picture of the frontier: what a better gate is worth, and what noise costs.

Rows are domains. On the left, gates without noise by bytes; on the right, the device's own gate by
leakage, one line for each noise, named by its epsilon.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.measured_frontier import Domain, MeasuredSetting

from ugsd_lab.evaluation.frontier import Frontier, Point
from ugsd_lab.evaluation.frontier_gates import DEVICE_GATE
from ugsd_lab.evaluation.frontier_outcomes import Exposure
from ugsd_lab.evaluation.frontier_printing import DOMAIN_NAMES
from ugsd_lab.evaluation.plots import STYLE, check_picture, save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_frontier"]

_SUMMARY = Exposure(Disclosure.SUMMARY)
_GATES: dict[str, dict[str, Any]] = {
    "expected gain": {"color": "#0072B2", "marker": "o", "linewidth": 2.2, "zorder": 4},
    "calibrated": {"color": "#CC79A7", "marker": "v", "linestyle": (0, (3, 1, 1, 1))},
    "entropy": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "random": {"color": "#555555", "marker": "x", "linestyle": ":"},
    "verdict oracle": {"color": "#009E73", "marker": "^", "linestyle": "-."},
    "oracle": {"color": "#000000", "marker": "", "linewidth": 0.9, "linestyle": (0, (6, 2))},
}
_NOISES: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "marker": "o", "linewidth": 2.2},
    {"color": "#56B4E9", "marker": "v", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#E69F00", "marker": "P", "linestyle": ":"},
    {"color": "#D55E00", "marker": "X", "linestyle": (0, (3, 1, 1, 1))},
)
_WIDTH_INCHES, _ROW_INCHES = 10.5, 3.4
_LEAST_SPAN = 0.2
"""Smallest range of an accuracy axis, so that a few captions do not look like a cliff."""


def draw_frontier(path: Path, frontier: Frontier) -> None:
    """Draw both panels for each domain.

    Raises :class:`EvaluationError` if ``path`` cannot be written.
    """
    check_picture(path)
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    domains = list(frontier.populations)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, _ROW_INCHES * len(domains)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(domains), 2, squeeze=False, sharey="row")
        for (left, right), domain in zip(panels, domains, strict=True):
            _draw_gates(left, frontier, domain)
            _draw_noises(right, frontier, domain)
        save_picture(figure, path)


def _draw_gates(axes: Axes, frontier: Frontier, domain: Domain) -> None:
    for gate in dict.fromkeys(point.gate for point in frontier.points):
        points = frontier.of(gate, _SUMMARY)
        style = {"linewidth": 1.4, "markersize": 4.5, **_GATES[gate]}
        sent = [point.figures[domain].bytes_sent for point in points]
        axes.plot(sent, _emotion(points, domain), label=gate, **style)
        if gate == DEVICE_GATE.name:
            own = [point.figures[domain] for point in points]
            axes.fill_between(
                sent, [one.emotion_low for one in own], [one.emotion_high for one in own],
                color=style["color"], alpha=0.12, linewidth=0,
            )  # fmt: skip
    population = frontier.populations[domain]
    axes.set_title(
        f"{DOMAIN_NAMES[domain]} ({', '.join(population.corpora)}), {population.captions} captions "
        f"of {population.speakers} speakers: gates, no noise",
        fontsize=8,
    )
    axes.set_xlabel("bytes per caption")
    axes.set_ylabel("captions with the right emotion")
    low, high = axes.get_ylim()
    spare = max(0.0, _LEAST_SPAN - (high - low)) / 2
    axes.set_ylim(max(-0.02, low - spare), min(1.02, high + spare))
    _finish(axes)


def _draw_noises(axes: Axes, frontier: Frontier, domain: Domain) -> None:
    exposures = dict.fromkeys(
        point.exposure
        for point in frontier.points
        if point.exposure.disclosure is not Disclosure.TOKENS
    )
    for number, exposure in enumerate(exposures):
        points = frontier.of(DEVICE_GATE.name, exposure)
        axes.plot(
            [point.figures[domain].leakage for point in points],
            _emotion(points, domain),
            label=_noise_label(exposure),
            **{"linewidth": 1.4, "markersize": 4.5, **_NOISES[number % len(_NOISES)]},
        )
    axes.set_title(f"{DOMAIN_NAMES[domain]}: the device's gate, by noise", fontsize=8)
    speakers = f"identifying a speaker of {frontier.populations[domain].attacked}"
    larger = ", the larger" if domain == "both" else ""
    axes.set_xlabel(f"leakage: {speakers}{larger}")
    _finish(axes)


def _emotion(points: Sequence[Point], domain: Domain) -> list[float]:
    return [point.figures[domain].emotion for point in points]


def _noise_label(exposure: Exposure) -> str:
    epsilon = MeasuredSetting(
        min_gain=0.0, disclosure=Disclosure.SUMMARY, sigma=exposure.sigma, figures={}
    ).epsilon
    if epsilon == inf:
        return "no noise: no bound"
    return f"sigma {exposure.sigma:g}: epsilon {epsilon:.0f}"


def _finish(axes: Axes) -> None:
    axes.set_xlim(left=-0.02 * axes.get_xlim()[1])
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="best", frameon=False, fontsize=7)
