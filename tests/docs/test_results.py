"""The results for EMO-DB, which is bundled, equal those of a run; all tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.evaluation import Pair, evaluate
from ugsd_lab.training.starter import STARTER_DRAFTER, load_norms
from ugsd_sdk.decoding.measured_frontier import MeasuredFrontier

from tests.docs.documents import CARDS, PAGES, README, ROOT, name_of, text_of

RESULTS = ROOT / "docs" / "results"
CAPTIONS = RESULTS / "captions.md"
SYSTEMS = ("drafter alone", "UGSD", "first token, always", "escalate everything")
CORPORA = ("emodb", "ravdess", "nemo")


def first_table(lines: list[str]) -> list[list[str]]:
    """Return the cells of the table at the beginning of ``lines``."""
    end = next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:end]]


def table_of(corpus: str) -> dict[str, dict[str, str]]:
    """Return a corpus' table in the results: system -> column -> cell."""
    after = text_of(CAPTIONS).split(f"**{corpus} (", 1)[1]
    header, _, *rows = first_table(after.splitlines()[2:])
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


@pytest.mark.timeout(900)
def test_results_equal_a_run(tmp_path: Path) -> None:
    """Other processors may round differently and then choose other words, hence the tolerances."""
    result = evaluate(
        load_corpora(None),
        Pair(STARTER_DRAFTER),
        norms=load_norms(),
        cache=tmp_path / "measures.json",
        progress=lambda *_: None,
        systems=SYSTEMS,
    )
    table = table_of("emodb")
    assert {row.system for row in result.rows} == {*SYSTEMS, "verifier on every token"}
    for row in result.rows:
        expected = {
            k: float(v) for k, v in table[row.system].items() if v.replace(".", "").isdigit()
        }
        assert expected["emotion"] == pytest.approx(row.emotion, abs=0.03)
        assert expected["BLEU"] == pytest.approx(row.bleu, abs=1.5)
        assert expected["words"] == pytest.approx(row.words, abs=0.5)
        if "tokens sent" in expected:
            assert expected["tokens sent"] == pytest.approx(row.disclosed, abs=0.03)
            assert expected["bytes"] == pytest.approx(row.bytes_sent, abs=30)


def test_results_have_every_system_of_every_corpus() -> None:
    for corpus in CORPORA:
        assert {*SYSTEMS, "paper's recipe", "tokens only", "verifier on every token"} <= set(
            table_of(corpus)
        )


def test_readme_quotes_the_results() -> None:
    section = text_of(README).partition("\n## Results\n")[2]
    table = section[section.index("| speech |") :].splitlines()
    header, _, *rows = first_table(table)
    assert header == ["speech", "system", "emotion right", "disclosed", "round trips"]
    assert len(rows) == 5
    for speech, system, *numbers in rows:
        (corpus,) = [one for one in CORPORA if speech.lower().startswith(one)]
        row = table_of(corpus)[system]
        assert numbers == [row["emotion"], row["tokens sent"], row["round trips"]]


@pytest.mark.parametrize("drafter", ["starter", "free"])
def test_frontier_page_has_the_bundled_settings(drafter: str) -> None:
    measured = MeasuredFrontier.load(STARTER_DRAFTER.parent / drafter)
    section = text_of(RESULTS / "frontier.md").partition(f"\n## {drafter.title()}\n")[2]
    title, _, table = section.partition("**both domains (")[2].partition("\n\n")
    header, _, *rows = first_table(table.splitlines())
    best = sorted(measured.undominated("both"), key=lambda one: one.exposure("both"))
    assert f"{len(best)} settings that no other beats" in title
    assert len(rows) == len(best)
    for row, one in zip(rows, best, strict=True):
        cells, own = dict(zip(header, row, strict=True)), one.figures["both"]
        assert cells["min_gain"] in {"never asks", f"{one.min_gain or 0:g}"}
        assert cells["emotion (95 %)"].startswith(f"{own.emotion:.2f} (")
        assert cells["leakage (95 %)"].startswith(f"{own.leakage:.3f} (")
        assert cells["bytes"] == f"{own.bytes_sent:.0f}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_measured_tables_are_marked(page: Path) -> None:
    """Only measured sections, the README and model cards may have tables with decimal shares."""
    text = text_of(page)
    marks = re.findall(r"<!-- (measured: .*?|end measured) -->", text)
    assert all(mark.startswith("measured") for mark in marks[::2])
    assert all(mark == "end measured" for mark in marks[1::2])
    assert len(marks) % 2 == 0
    outside = re.sub(r"<!-- measured: .*?<!-- end measured -->", "", text, flags=re.DOTALL)
    if page not in {README, *CARDS}:
        assert re.findall(r"^\|.*\| \d\.\d\d\b.*\|$", outside, re.MULTILINE) == []
