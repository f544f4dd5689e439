"""``ugsd-lab bench visitors``: captions of people who are not named, and what they give away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_document, print_json

from ugsd_lab.cli.options import AsJson, DataFolder, DrafterName, Markdown, require_one_output
from ugsd_lab.cli.progress import shown_progress

__all__ = ["bench_visitors"]

_COLUMNS = 150


def bench_visitors(
    data: DataFolder = None,
    drafter: DrafterName = "starter",
    visits: Annotated[
        int, typer.Option(min=1, metavar="N", help="Visits of each test speaker.")
    ] = 60,
    quick: Annotated[
        bool, typer.Option("--quick", help="Short training of the attackers, for an impression.")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep audio embeddings here between runs."),
    ] = None,
    as_json: AsJson = False,
    markdown: Markdown = False,
) -> None:
    """People who are not named: captions, and leakage.

    Captions visits of test speakers without a profile and with one of the visit alone, from
    different numbers of clips on, and attacks what is sent. Runs on EMO-DB, which comes with the
    package, and on the corpora of the bundled pair in --data.
    """
    from ugsd_privacy.output.consoles import console

    from ugsd_lab.attacks.learning import FULL, QUICK
    from ugsd_lab.attacks.visitors import attack_visits, attacks_table
    from ugsd_lab.bench.visitors import caption_visits, captions_table
    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.evaluation import pair_of
    from ugsd_lab.tables import markdown as as_markdown
    from ugsd_lab.tables import print_tables

    require_one_output(as_json=as_json, markdown=markdown)
    pair, clips = pair_of(drafter), load_corpora(data)
    with shown_progress() as progress:
        captions = caption_visits(clips, pair, progress, visits=visits)
        attacks = attack_visits(clips, pair, progress, cache=cache, effort=QUICK if quick else FULL)
    if as_json:
        document = {
            "captions": [asdict(row) for row in captions],
            "attacks": {name: [asdict(one) for one in some] for name, some in attacks.items()},
        }
        print_json(json.dumps(document, indent=1))
        return
    tables = [captions_table(captions), attacks_table(attacks)]
    notes = _notes({row.corpus: row.visits for row in captions})
    if markdown:
        print_document(f"{as_markdown(tables, notes)}\n")
    else:
        print_tables(tables, console(), notes, columns=_COLUMNS)


def _notes(visits: Mapping[str, int]) -> list[str]:
    """Return what a reader of the tables must know; ``visits`` are the numbers by corpus."""
    from ugsd_lab.training.visits import VISIT_CLIPS

    counted = ", ".join(f"{corpus} {count}" for corpus, count in visits.items())
    return [
        f"Visits of {VISIT_CLIPS} clips of one test speaker in random order: {counted}. Each "
        "begins with nothing known of the speaker.",
        "Captions attacked: those of which the choice lets a state be sent, and each of them asks. "
        "Attackers know ten captions of each person by name and have learnt from other people. "
        "Intervals are over speakers.",
    ]
