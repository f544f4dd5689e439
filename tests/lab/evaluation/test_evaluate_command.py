"""The command ``ugsd-lab evaluate`` and the pair of models that its options choose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ugsd_lab.cli import main
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation import pair_of
from ugsd_lab.training.starter import STARTER_DRAFTER


def test_pair_knows_the_domain_of_a_corpus(tmp_path: Path) -> None:
    pair = pair_of("starter")
    domains = ["in-domain", "out-of-domain", "unseen"]
    assert [pair.domain_of(name) for name in ("emodb", "nemo", "savee")] == domains
    other = pair_of(str(STARTER_DRAFTER), in_domain=["nemo"])
    assert other.domain_of("emodb") == "out-of-domain"
    with pytest.raises(EvaluationError, match="ugsd-lab train"):
        pair_of(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--split", "all"], "calibration"),
        (["--drafter", "nowhere"], "starter, free, ceiling"),
        (["--plot", "curve.pdf"], ".svg or .png"),
        (["--system", "everything"], "escalate everything"),
        (["--in-domain", "nowhere"], "cremad"),
        (["--json", "--markdown"], "name one"),
    ],
)
def test_wrong_options_name_the_right_ones(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == 1
    assert hint in capsys.readouterr().err


def test_command_prints_json(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "--limit", "1", "--system", "UGSD", "--cache", str(cache), "--json"]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["system"] for row in report["rows"]] == [
        "drafter alone", "UGSD", "verifier on every token",
    ]  # fmt: skip
