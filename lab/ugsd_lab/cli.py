"""``ugsd-lab``: train the starter pair, evaluate it, and measure speed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import TaskID
    from rich.table import Table

    from ugsd_lab.evaluate import Row
    from ugsd_lab.training import Progress

__all__ = ["main"]

# Heavy imports wait inside the commands, so that --help answers at once.

_INTERRUPTED = 130
_TABLE_COLUMNS = 130

_app = typer.Typer(
    name="ugsd-lab",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, evaluate and measure. Needs the lab extra: pip install '.[lab]'.",
)
_bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure speed and size.")
_app.add_typer(_bench, name="bench")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from ugsd_privacy.errors import PrivacyError
    from ugsd_sdk.errors import UgsdError
    from ugsd_server.errors import ServerError

    from ugsd_lab.errors import LabError

    try:
        _app(args=None if argv is None else list(argv), prog_name="ugsd-lab")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ugsd"):
            raise
        print(
            f"ugsd-lab: {error.name} is missing: pip install '.[lab]' in a checkout",
            file=sys.stderr,
        )
        return 1
    except (LabError, UgsdError, PrivacyError, ServerError) as error:
        print(f"ugsd-lab: {error}", file=sys.stderr)
        return 1
    return 0


_Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", exists=True, file_okay=False,
        help="Folder with more corpora, each below its name: ravdess, nemo.",
    ),
]  # fmt: skip


@_app.command(epilog="Example: ugsd-lab train --data corpora --whisper whisper-tiny-en.safetensors")
def train(
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR", exists=True, file_okay=False,
            help="Folder with the corpora ravdess and nemo; EMO-DB is bundled.",
        ),
    ],
    whisper: Annotated[
        Path,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False,
            help="Encoder of Whisper tiny.en as safetensors, in transformers' names.",
        ),
    ],
    work: Annotated[
        Path, typer.Option(metavar="DIR", help="Checkpoints and results; run again to resume.")
    ] = Path("runs/starter"),
    seed: Annotated[int, typer.Option(help="Decides the weights, with the data.")] = 0,
    drafter_steps: Annotated[int, typer.Option(min=1)] = 3000,
    verifier_steps: Annotated[int, typer.Option(min=1)] = 1500,
) -> None:  # fmt: skip
    """Train the starter pair, fit its gate and export both to ONNX.

    Resumes from the last checkpoint in --work. The same seed, steps and data give the same weights
    on the same machine and versions.
    """
    from ugsd_lab.starter import Recipe, train_starter_pair

    with _progress() as progress:
        drafter, verifier = train_starter_pair(
            data, whisper, work, Recipe(seed, drafter_steps, verifier_steps), progress
        )
    print(f"drafter in {drafter}, verifier in {verifier}")


@_app.command(epilog="Example: ugsd-lab evaluate --data corpora --json")
def evaluate(
    data: _Data = None,
    split: Annotated[
        str, typer.Option(help="Whose clips: dev for choices, test for tables.")
    ] = "test",
    drafter: Annotated[
        Path | None, typer.Option(metavar="DIR", help="[default: the bundled starter]")
    ] = None,
    verifier: Annotated[
        Path | None, typer.Option(metavar="DIR", help="[default: the bundled starter]")
    ] = None,
    cache: Annotated[
        Path, typer.Option(metavar="FILE", help="Keeps measured prosody between runs.")
    ] = Path("runs/starter/measures.json"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Compare the drafter alone, UGSD, escalating everything and the verifier on every token.

    Runs on EMO-DB's test speakers, which come with the package, and on those of every corpus in
    --data. Reference captions are generated.
    """
    from ugsd_server.settings import STARTER_FOLDER

    from ugsd_lab import evaluate as lab
    from ugsd_lab.corpora import SPLITS, load_corpora
    from ugsd_lab.errors import CorpusError
    from ugsd_lab.metrics import bleu_signature
    from ugsd_lab.starter import STARTER_DRAFTER, load_norms

    if split not in SPLITS:
        raise CorpusError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    clips = [clip for clip in load_corpora(data) if clip.split == split]
    with _progress() as progress:
        rows = lab.evaluate(
            clips,
            drafter=drafter or STARTER_DRAFTER,
            verifier=verifier or STARTER_FOLDER,
            norms=load_norms(),
            cache=cache,
            progress=progress,
        )
    if as_json:
        print(json.dumps(lab.as_json(rows), indent=1))
        return
    from rich.console import Console

    Console(width=max(_TABLE_COLUMNS, Console().width)).print(_table(rows, split))
    print(f"95 %: interval of emotion, bootstrapped over the {split} speakers")
    print(f"BLEU: {bleu_signature(5)}; references are generated")


@_bench.command("device", epilog="Example: ugsd-lab bench device --runs 50")
def bench_device(
    runs: Annotated[int, typer.Option(min=5, help="Warm captions that are timed.")] = 40,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Import, cold start, warm latency, memory, bytes sent and installed size, on this machine."""
    from ugsd_lab.bench import measure_device

    with _progress() as progress:
        figures = measure_device(runs, progress)
    if as_json:
        print(json.dumps([figure.as_dict() for figure in figures], indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("measure", "value", "goal", "")
    for figure in figures:
        table.add_row(
            figure.name, f"{figure.value:,.4g} {figure.unit}", figure.goal_text, figure.mark
        )
    Console(width=max(_TABLE_COLUMNS, Console().width)).print(table)


def _table(rows: Sequence[Row], split: str) -> Table:
    from rich.table import Table

    def cell(value: float, digits: int = 1) -> str:
        return "-" if value != value else f"{value:.{digits}f}"  # noqa: PLR0124  # NaN

    table = Table(title=f"{split} speakers; in-memory link; means per caption")
    for name in (
        "corpus", "arm", "clips", "BLEU", "emotion", "95 %", "words", "escalated", "disclosed",
        "trips", "bytes", "p50 ms", "p95 ms",
    ):  # fmt: skip
        table.add_column(name, justify="left" if name in {"corpus", "arm"} else "right")
    for r in rows:
        table.add_row(
            r.corpus, r.arm, str(r.clips), cell(r.bleu), cell(r.emotion, 2),
            f"{r.emotion_low:.2f}-{r.emotion_high:.2f}", cell(r.words),
            cell(r.escalation, 2), cell(r.disclosed, 2), cell(r.round_trips), cell(r.bytes_sent, 0),
            cell(r.p50_ms), cell(r.p95_ms),
        )  # fmt: skip
    return table


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on stderr, one per stage; where that is no terminal, a line for each tenth."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _tell_tenths
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    with Bars(
        TextColumn("{task.description:>24}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console,
    ) as bars:  # fmt: skip
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, of: int, note: str) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=of, note=note)
            bars.update(tasks[stage], completed=done, note=note)

        yield report


def _tell_tenths(stage: str, done: int, of: int, note: str) -> None:
    if done == of or 10 * done // of != 10 * (done - 1) // of:
        print(f"{stage}: {done}/{of} {note}", file=sys.stderr, flush=True)
