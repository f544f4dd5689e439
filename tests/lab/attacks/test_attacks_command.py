"""The command ``ugsd-lab attack``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ugsd_lab.cli import main
from ugsd_lab.data.corpora import load_corpora


@pytest.mark.timeout(900)
def test_quick_attack_runs_from_a_fresh_clone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The test waits for every answer; one that is late reveals nothing that is asserted below.
    monkeypatch.setattr("ugsd_lab.attacks.traffic.REPLY_AFTER_MS", 50)
    cache = tmp_path / "embeddings.npz"
    assert main(["attack", "--drafter", "free", "--quick", "--json", "--cache", str(cache)]) == 0
    report = json.loads(capsys.readouterr().out)
    found = {(one["measure"], one["seen"], one["profile"]): one for one in report["findings"]}
    assert found["identification", "evidence", ""]["value"] > 0.95
    assert abs(found["identification", "evidence", ""]["permuted"] - 0.5) < 0.15
    assert found["sentence", "evidence", ""]["value"] > 0.4, "of ten, after short training"
    assert found["escalated", "padded", ""]["value"] > 0.9
    assert found["emotion", "constant", ""]["value"] < 0.5
    assert main(["attack", "--quick", "--states", "--markdown", "--cache", str(cache)]) == 1
    assert "--states needs ravdess" in capsys.readouterr().err
    some = [c for number, c in enumerate(load_corpora(None)) if c.split == "test" or number % 2]
    monkeypatch.setattr("ugsd_lab.data.corpora.load_corpora", lambda _: some)
    assert main(
        ["attack", "--drafter", "free", "--quick", "--states", "--json", "--cache", str(cache),
         "--plot", str(tmp_path / "frontier.svg")]
    ) == 0  # fmt: skip
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert sum(one["picked"] for one in rows) == 1
    assert (tmp_path / "frontier.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "--markdown"], "name one of them"),
        (["--plot", "a.svg"], "add --states"),
        (["--plot", "a.txt", "--states"], "ends in"),
        (["--noise", "0"], "not above 0"),
        (["--noise", "1", "--write"], "leave out --noise"),
        (["--noise", "1", "--states"], "leave out --noise"),
        (["--drafter", "nobody"], "no drafter in nobody"),
    ],
)
def test_invalid_arguments_are_reported(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attack", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_foreign_cache_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "embeddings.npz"
    cache.write_bytes(b"no embeddings")
    assert main(["attack", "--quick", "--cache", str(cache)]) == 1
    assert "does not hold audio embeddings" in capsys.readouterr().err
