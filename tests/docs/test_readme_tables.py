"""The README's table of EMO-DB, which comes with the package, is what a run of it prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.evaluation import Pair, evaluate
from ugsd_lab.training.starter import STARTER_DRAFTER, load_norms

README = Path(__file__).parents[2] / "README.md"
ARMS = ("drafter alone", "UGSD", "first token, always", "escalate everything")


def printed(corpus: str) -> dict[str, dict[str, str]]:
    """Rows of a corpus' table in the README: arm -> column -> cell."""
    after = README.read_text("utf-8").split(f"**{corpus} (", 1)[1]
    lines = after.splitlines()[2:]
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("|"))]
    ]
    header, _, *rows = table
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


@pytest.mark.timeout(900)
def test_the_readme_tells_what_a_run_on_the_bundled_recordings_finds(tmp_path: Path) -> None:
    """Another processor may round another way, and so now and then choose another word."""
    result = evaluate(
        load_corpora(None),
        Pair(STARTER_DRAFTER),
        norms=load_norms(),
        cache=tmp_path / "measures.json",
        progress=lambda *_: None,
        arms=ARMS,
    )
    table = printed("emodb")
    assert {row.arm for row in result.rows} == {*ARMS, "verifier on every token"}
    for row in result.rows:
        told = {k: float(v) for k, v in table[row.arm].items() if v.replace(".", "").isdigit()}
        assert told["emotion"] == pytest.approx(row.emotion, abs=0.03)
        assert told["BLEU"] == pytest.approx(row.bleu, abs=1.5)
        assert told["words"] == pytest.approx(row.words, abs=0.5)
        if "tokens left" in told:
            assert told["tokens left"] == pytest.approx(row.disclosed, abs=0.03)
            assert told["bytes"] == pytest.approx(row.bytes_sent, abs=30)


def test_the_readme_has_every_arm_of_every_corpus() -> None:
    for corpus in ("emodb", "ravdess", "nemo"):
        assert {*ARMS, "paper's recipe", "tokens only", "verifier on every token"} <= set(
            printed(corpus)
        )
