"""``ugsd-lab attack``: attacks what is sent, or compares ways of making states."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_document, print_json

from ugsd_lab.cli.options import (
    AsJson,
    DataFolder,
    DrafterName,
    Markdown,
    WriteBeside,
    require_one_output,
    require_possible_noise,
)
from ugsd_lab.cli.progress import shown_progress
from ugsd_lab.errors import EvaluationError

if TYPE_CHECKING:
    from ugsd_privacy.protocol.messages import Disclosure

__all__ = ["register"]

_STATES_STEPS = 200


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ugsd-lab attack --data corpora")(attack)


def attack(
    data: DataFolder = None,
    drafter: DrafterName = "starter",
    states: Annotated[
        bool, typer.Option("--states", help="Compare ways of making states instead.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="EMO-DB only, and short training: for a first impression."),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --states: draw them, .svg or .png."),
    ] = None,
    disclosure: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Attack only this disclosure; may be repeated."),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            metavar="SIGMA", help="Attack states with noise, as `sigma` in the settings adds it."
        ),
    ] = None,
    write: WriteBeside = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep the clips' audio embeddings here between runs, and prosody beside them.",
        ),
    ] = None,
    as_json: AsJson = False,
    markdown: Markdown = False,
) -> None:
    """Attack what is sent.

    Infer the speaker, attributes of the speaker and the content of the speech, and analyse the
    network traffic. The speakers were used to train neither the states nor the attackers. The
    strongest of several attackers is reported, beside the same attackers on audio embeddings, which
    are never sent, and on permuted labels.
    """
    from ugsd_privacy.output.consoles import console

    from ugsd_lab.attacks import printing
    from ugsd_lab.attacks import states as ways
    from ugsd_lab.attacks.candidates import candidates
    from ugsd_lab.attacks.findings import as_json as findings_as_json
    from ugsd_lab.attacks.leakage import write_leakage
    from ugsd_lab.attacks.learning import QUICK, TrainingBudget
    from ugsd_lab.attacks.material import material_of, require_corpora
    from ugsd_lab.attacks.picture import draw_states
    from ugsd_lab.attacks.study import attack as attack_all
    from ugsd_lab.attacks.study import prepare
    from ugsd_lab.attacks.traffic import TRAFFIC_NOTE, attack_traffic
    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.evaluation import pair_of

    disclosures = _disclosures_named(disclosure or ())
    require_one_output(as_json=as_json, markdown=markdown)
    _require_consistent(states=states, plot=plot, write=write, noise=noise)
    pair = pair_of(drafter)
    with shown_progress() as progress:
        clips = load_corpora(None if quick else data)
        if states:
            require_corpora(pair.drafter, {clip.corpus for clip in clips})
        target = prepare(clips, pair.drafter, pair.in_domain, cache, progress)
        if states:
            # Each of the many ways trains its own attackers and conditioning network.
            effort = QUICK if quick else TrainingBudget(steps=_STATES_STEPS)
            material = material_of(target, cache, progress, quick=quick)
            some = candidates(tuple(material.fitted_on), quick=quick)
            rows = ways.measure_all(material, some, progress, effort=effort)
        else:
            report = attack_all(target, progress, disclosures=disclosures, quick=quick, sigma=noise)
            traffic = (
                attack_traffic(target, progress, effort=QUICK, per_speaker=4)
                if quick
                else attack_traffic(target, progress)
            )
            report = report.with_findings(traffic, [TRAFFIC_NOTE])
    if states and plot is not None:
        draw_states(plot, rows)
    if write:
        write_leakage(report, pair.drafter, _command(drafter, data, disclosures, quick=quick))
    if as_json:
        found = ways.as_json(rows) if states else findings_as_json(report)
        print_json(json.dumps(found, indent=1))
    elif markdown:
        text = printing.states_markdown(rows) if states else printing.as_markdown(report)
        print_document(f"{text}\n")
    elif states:
        printing.print_states(rows, console())
    else:
        printing.print_report(report, console())


def _require_consistent(
    *, states: bool, plot: Path | None, write: bool, noise: float | None
) -> None:
    """Raise :class:`EvaluationError` for options that exclude each other, and for noise that the
    device cannot add."""
    from ugsd_lab.evaluation.plots import check_picture

    if plot is not None and not states:
        raise EvaluationError("--plot draws the ways of making states: add --states")
    if write and states:
        raise EvaluationError("--write stores the results of attacks: leave out --states")
    if plot is not None:
        check_picture(plot)
    if noise is None:
        return
    require_possible_noise(noise)
    if states:
        raise EvaluationError("--states compares several noises: leave out --noise")
    if write:
        raise EvaluationError("--write stores the results without noise: leave out --noise")


def _disclosures_named(names: Sequence[str]) -> tuple[Disclosure, ...]:
    """Return the disclosures in ``names``, or all if it is empty. Raises
    :class:`EvaluationError` for an unknown one."""
    from ugsd_privacy.protocol.messages import Disclosure

    unknown = sorted(set(names) - set(Disclosure))
    if unknown:
        known = ", ".join(Disclosure)
        raise EvaluationError(f"--disclosure: no disclosure {unknown[0]!r}; there are: {known}")
    return tuple(one for one in Disclosure if not names or one in names)


def _command(
    drafter: str, data: Path | None, disclosures: tuple[Disclosure, ...], *, quick: bool
) -> str:
    """Return the command that prints the same figures."""
    from ugsd_privacy.protocol.messages import Disclosure

    folder = "" if data is None or quick else " --data DIR"
    is_whole = len(disclosures) == len(Disclosure)
    only = "" if is_whole else "".join(f" --disclosure {one}" for one in disclosures)
    return f"ugsd-lab attack --drafter {drafter}{folder}{only}{' --quick' * quick}"
