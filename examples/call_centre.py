"""How the customers of a call centre sounded, from a folder of stereo recordings.

    pip install matplotlib
    python examples/call_centre.py FOLDER [--out FOLDER/timelines]

Each recording has the agent on the left and the customer on the right. It becomes a timeline as
data (NAME.json) and as a picture (NAME.svg); calls.svg shows all customers at one glance. Nothing
is sent. A run that was interrupted is continued where it was, also within a call. It prints::

    ┏━━━━━━┳━━━━━━━━┳━━━━━━━━━━━━━━━━┳━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━┓
    ┃ call ┃ length ┃ customer began ┃ and ended ┃ the end is            ┃ turning points        ┃
    ┡━━━━━━╇━━━━━━━━╇━━━━━━━━━━━━━━━━╇━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━┩
    │ anna │ 1:03   │ happy          │ neutral   │ calmer, lower,        │ 0:33 from happy to    │
    │      │        │                │           │ quieter               │ bored; calmer, lower  │
    │      │        │                │           │                       │ and quieter than      │
    │      │        │                │           │                       │ before                │
    └──────┴────────┴────────────────┴───────────┴───────────────────────┴───────────────────────┘
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from ugsd_sdk import Captioner, UgsdError
from ugsd_sdk.timelines import Timeline, TimelineChannel, TimelineUtterance

FORMATS = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff"}


def timeline_of(captioner: Captioner, recording: Path, out: Path, progress: Progress) -> Timeline:
    """Return the timeline of a call; make it unless an earlier run did."""
    stored = out / f"{recording.stem}.json"
    if stored.exists() and stored.stat().st_mtime >= recording.stat().st_mtime:
        return Timeline.from_json(stored.read_bytes())
    task = progress.add_task(recording.name, total=None)
    checkpoint = out / f"{recording.stem}.checkpoint"
    timeline = captioner.timeline(
        recording,
        channels=("agent", "customer"),
        checkpoint=checkpoint,
        on_progress=lambda done_s, all_s: progress.update(task, completed=done_s, total=all_s),
    )
    timeline.write(stored.with_suffix(".svg"))
    timeline.write(stored)
    checkpoint.unlink(missing_ok=True)
    progress.remove_task(task)
    return timeline


def customer_of(timeline: Timeline) -> TimelineChannel | None:
    """Return the customer's channel, if there is one and the customer speaks."""
    found = (one for one in timeline.channels if one.label == "customer" and one.utterances)
    return next(found, None)


def main_emotion(utterances: Sequence[TimelineUtterance]) -> str:
    """Return the emotion with the largest share of the utterances, by its probabilities."""
    shares = Counter[str]()
    for one in utterances:
        shares.update(one.caption.attributes.emotion.distribution)
    return max(shares, key=shares.__getitem__, default="-")


def row_of(name: str, timeline: Timeline) -> tuple[str, ...]:
    minutes, seconds = divmod(round(timeline.duration_s), 60)
    length = f"{minutes}:{seconds:02}"
    customer = customer_of(timeline)
    if customer is None:
        return name, length, "no customer is heard"
    fifth = max(1, len(customer.utterances) // 5)
    return (
        name,
        length,
        main_emotion(customer.utterances[:fifth]),
        main_emotion(customer.utterances[-fifth:]),
        ", ".join(one.word for one in customer.end_from_start),
        "\n".join(map(str, customer.turning_points)),
    )


def summary_plot(timelines: dict[str, Timeline]) -> Figure:
    """Draw a row for each call: the customer's valence from start to end, and turning points."""
    customers = {name: customer_of(one) for name, one in timelines.items()}
    figure = Figure(figsize=(9, 1.6 + 0.3 * len(timelines)), layout="constrained")
    moods, times = figure.subplots(1, 2, sharey=True)
    for row, (name, customer) in enumerate(customers.items()):
        times.barh(row, timelines[name].duration_s / 60, height=0.3, color="0.8")
        if customer is None:
            continue
        valences = [one.valence for one in customer.arc if one.valence is not None]
        if valences:
            moods.plot([valences[0], valences[-1]], [row, row], color="0.6", zorder=1)
            moods.scatter(valences[0], row, color="white", edgecolor="tab:blue", zorder=2)
            moods.scatter(valences[-1], row, color="tab:blue", zorder=3)
        for point in customer.turning_points:
            times.plot(point.at_s / 60, row, "|", color="tab:red", markersize=12)
    moods.set(yticks=range(len(customers)), yticklabels=customers, xlim=(-1, 1))
    moods.set(title="customer, start \N{WHITE CIRCLE} to end \N{BLACK CIRCLE}")
    moods.set(xlabel="valence: unpleasant to pleasant")
    times.set(xlabel="minutes", title="turning points")
    moods.set(ylim=(len(customers) - 0.5, -0.5))
    return figure


def main() -> None:
    arguments = argparse.ArgumentParser(description="How customers sounded.")
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    out = given.out or given.folder / "timelines"
    out.mkdir(parents=True, exist_ok=True)
    recordings = sorted(one for one in given.folder.iterdir() if one.suffix.lower() in FORMATS)
    table = Table("call", "length", "customer began", "and ended", "the end is", "turning points")
    timelines = dict[str, Timeline]()
    console = Console()
    with Captioner() as captioner, Progress(console=console, transient=True) as progress:
        for recording in recordings:
            try:
                timelines[recording.stem] = timeline_of(captioner, recording, out, progress)
            except UgsdError as error:
                console.print(f"{recording.name}: {error}", markup=False)
    for name, timeline in timelines.items():
        table.add_row(*row_of(name, timeline))
    console.print(table)
    summary_plot(timelines).savefig(out / "calls.svg")


if __name__ == "__main__":
    main()
