"""Measured tables: the results of EMO-DB, which comes with the package, are what a run prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.evaluation import Pair, evaluate
from ugsd_lab.training.starter import STARTER_DRAFTER, load_norms

from tests.docs.documents import CARDS, PAGES, README, ROOT, name_of, text_of

RESULTS = ROOT / "docs" / "results"
CAPTIONS = RESULTS / "captions.md"
SYSTEMS = ("drafter alone", "UGSD", "first token, always", "escalate everything")
CORPORA = ("emodb", "ravdess", "nemo")


def rows_after(lines: list[str]) -> list[list[str]]:
    """Cells of the table that the lines begin with."""
    end = next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:end]]


def printed(corpus: str) -> dict[str, dict[str, str]]:
    """Rows of a corpus' table in the results: system -> column -> cell."""
    after = text_of(CAPTIONS).split(f"**{corpus} (", 1)[1]
    header, _, *rows = rows_after(after.splitlines()[2:])
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


@pytest.mark.timeout(900)
def test_results_are_what_a_run_finds(tmp_path: Path) -> None:
    """Another processor may round another way, and so now and then choose another word."""
    result = evaluate(
        load_corpora(None),
        Pair(STARTER_DRAFTER),
        norms=load_norms(),
        cache=tmp_path / "measures.json",
        progress=lambda *_: None,
        systems=SYSTEMS,
    )
    table = printed("emodb")
    assert {row.system for row in result.rows} == {*SYSTEMS, "verifier on every token"}
    for row in result.rows:
        shown = {k: float(v) for k, v in table[row.system].items() if v.replace(".", "").isdigit()}
        assert shown["emotion"] == pytest.approx(row.emotion, abs=0.03)
        assert shown["BLEU"] == pytest.approx(row.bleu, abs=1.5)
        assert shown["words"] == pytest.approx(row.words, abs=0.5)
        if "tokens sent" in shown:
            assert shown["tokens sent"] == pytest.approx(row.disclosed, abs=0.03)
            assert shown["bytes"] == pytest.approx(row.bytes_sent, abs=30)


def test_results_have_every_system_of_every_corpus() -> None:
    for corpus in CORPORA:
        assert {*SYSTEMS, "paper's recipe", "tokens only", "verifier on every token"} <= set(
            printed(corpus)
        )


def test_the_readme_quotes_the_results() -> None:
    section = text_of(README).partition("\n## Results\n")[2]
    table = section[section.index("| speech |") :].splitlines()
    header, _, *rows = rows_after(table)
    assert header == ["speech", "system", "emotion right", "disclosed", "round trips"]
    assert len(rows) == 5
    for speech, system, *numbers in rows:
        (corpus,) = [one for one in CORPORA if speech.lower().startswith(one)]
        row = printed(corpus)[system]
        assert numbers == [row["emotion"], row["tokens sent"], row["round trips"]]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_measured_is_marked(page: Path) -> None:
    """Only results, the pages that quote them, and model cards have decimal shares in tables."""
    text = text_of(page)
    marks = re.findall(r"<!-- (measured: .*?|end measured) -->", text)
    assert all(mark.startswith("measured") for mark in marks[::2])
    assert all(mark == "end measured" for mark in marks[1::2])
    assert len(marks) % 2 == 0
    outside = re.sub(r"<!-- measured: .*?<!-- end measured -->", "", text, flags=re.DOTALL)
    if page not in {README, *CARDS}:
        assert re.findall(r"^\|.*\| \d\.\d\d\b.*\|$", outside, re.MULTILINE) == []
