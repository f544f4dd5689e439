"""``ugsd audit cosign`` and ``witness``: checkpoints that are carried as files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.witness import WitnessKey
from ugsd_privacy.tlog.checkpoint import sign_checkpoint
from ugsd_privacy.tlog.cosignature import cosign
from ugsd_privacy.tlog.witness import AddCheckpoint

from tests.sdk.cli.log.commands import Carrier, Out, audit, leave_from


def test_an_export_has_what_witnesses_cosigned(
    home: Path, log_key: str, tmp_path: Path, capsys: Out
) -> None:
    carrier, file = Carrier(tmp_path / "carried", log_key, capsys), tmp_path / "log.ugsd"
    carrier.learn_key()
    assert audit(*carrier.asking(), home=home) == 0
    assert carrier.witnessed() == 0
    assert audit(*carrier.taking(), home=home) == 0
    leave_from(home)
    assert audit("export", file, home=home) == 0
    capsys.readouterr()
    assert audit("verify", file, "--log-key", log_key, "--witness-key", carrier.key) == 0
    assert "cosigned 6 of the 14 passages" in capsys.readouterr().out


def test_a_log_is_cosigned_by_files_and_a_rollback_against_its_witness_is_refused(
    home: Path, log_key: str, leave: Callable[[], None], tmp_path: Path, capsys: Out
) -> None:
    carrier, file = Carrier(tmp_path / "carried", log_key, capsys), tmp_path / "log.ugsd"
    carrier.learn_key()
    assert audit("verify", "--witness-key", carrier.key, home=home) == 1
    assert "cosigned none of these checkpoints" in capsys.readouterr().err
    assert audit(*carrier.asking(), home=home) == 0
    assert carrier.witnessed() == 0
    capsys.readouterr()
    assert audit(*carrier.taking(), home=home) == 0
    assert "cosigned 6 passages;" in capsys.readouterr().out
    first = carrier.request.read_bytes(), carrier.response.read_bytes()
    backup = tmp_path / "backup"
    shutil.copytree(home, backup)
    leave()
    assert audit(*carrier.asking(), home=home) == 0
    assert "from 6 passages on" in capsys.readouterr().out
    assert carrier.witnessed() == 0
    assert audit(*carrier.taking(), home=home) == 0
    carrier.request.write_bytes(first[0])
    carrier.response.write_bytes(first[1])
    capsys.readouterr()
    assert audit(*carrier.taking(), home=home) == 0
    assert "cosigned 12 passages later, which are kept" in capsys.readouterr().out
    assert audit("verify", "--witness-key", carrier.key, home=home) == 0
    assert "cosigned 12 of the 12 passages at 20" in capsys.readouterr().out
    assert audit("export", file, "--tiles", tmp_path / "t", home=home) == 0
    assert (tmp_path / "t" / "checkpoint").read_text("utf-8").count("— ") == 2
    capsys.readouterr()
    assert audit("verify", file, "--log-key", log_key, "--witness-key", carrier.key) == 0
    assert "cosigned 12 of the 12" in capsys.readouterr().out
    other = WitnessKey.generate().public.to_text()
    assert audit("verify", file, "--witness-key", other) == 1

    # The ledger alone is restored: what the witness cosigned, kept beside it, finds that.
    shutil.rmtree(home / "ledger")
    shutil.copytree(backup / "ledger", home / "ledger")
    (home / "ledger.anchor").write_bytes((backup / "ledger.anchor").read_bytes())
    assert audit("verify", home=home) == 1
    assert "truncated: 12 leaves were signed, but only 6 are here" in capsys.readouterr().err
    assert audit("report", "--format", "md", "--out", tmp_path / "r.md", home=home) == 1
    assert "NOT verify at record 6" in (tmp_path / "r.md").read_text("utf-8")
    assert audit(*carrier.asking(), home=home) == 1
    assert "rolled back: the witness cosigned 12 leaves, but only 6" in capsys.readouterr().err

    # The whole home is restored: the witness itself finds that.
    assert audit(*carrier.asking(), home=backup) == 0
    assert carrier.witnessed() == 1
    assert "this witness is at 12 passages" in capsys.readouterr().err
    assert audit(*carrier.taking(), home=backup) == 1
    assert "rolled back: the witness cosigned 12 leaves, but only 6" in capsys.readouterr().err

    # And goes on from there: it has forked.
    leave_from(backup)
    assert audit(*carrier.asking(), home=backup) == 0
    assert carrier.witnessed() == 1
    assert audit(*carrier.taking(), home=backup) == 1
    assert "carry" in capsys.readouterr().err
    assert carrier.witnessed() == 1
    assert "refused (422)" in capsys.readouterr().err


def test_a_witness_that_is_behind_is_asked_once_more_from_there(
    home: Path, log_key: str, tmp_path: Path, capsys: Out
) -> None:
    carrier = Carrier(tmp_path / "carried", log_key, capsys)
    carrier.learn_key()
    assert audit(*carrier.asking(), home=home) == 0
    assert carrier.witnessed() == 0, "an answer that never came back"
    assert audit(*carrier.asking(), home=home) == 0, "it knows of nothing cosigned"
    assert carrier.witnessed() == 1, "the witness is at 6"
    assert audit(*carrier.taking(), home=home) == 1
    assert f"carry {carrier.request} to it once more" in capsys.readouterr().err
    assert carrier.witnessed() == 0
    assert audit(*carrier.taking(), home=home) == 0


def test_a_witness_is_begun_by_its_key_and_asked_with_all_it_needs(
    log_key: str, tmp_path: Path, capsys: Out
) -> None:
    state, ask = ["--state", tmp_path / "w"], ["--request", tmp_path / "ask"]
    told = []
    for _ in range(2):
        assert audit("witness", *state) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert told[0].startswith("witness key: ugsd.witness/")
    back, key = ["--response", tmp_path / "answer"], ["--log-key", log_key]
    for given in (ask, [*ask, *back], [*ask, *key], back):
        assert audit("witness", *state, *given) == 2
    assert "--request" in capsys.readouterr().err
    (tmp_path / "w" / "witness.sqlite3").write_bytes(b"")
    assert audit("witness", *state) == 1
    assert "no longer knows what it cosigned" in capsys.readouterr().err


def test_another_log_of_the_size_that_was_cosigned_is_refused_and_no_answer_written(
    tmp_path: Path, capsys: Out
) -> None:
    key = LogKey.generate()
    carrier = Carrier(tmp_path / "carried", key.public.to_text(), capsys)
    for old, root, code in ((0, bytes(32), 0), (3, b"f" * 32, 1)):
        carrier.response.unlink(missing_ok=True)
        note = sign_checkpoint(3, root, key)
        carrier.request.write_bytes(AddCheckpoint(old, (), note).to_bytes())
        assert carrier.witnessed() == code
    assert "refused (409): another tree of 3 leaves" in capsys.readouterr().err
    assert not carrier.response.exists()


def test_a_cosignature_of_no_calendars_time_is_refused_when_it_is_taken_in(
    home: Path, tmp_path: Path, capsys: Out
) -> None:
    key, ask = WitnessKey.generate(), tmp_path / "ask"
    given = ["cosign", "--witness-key", key.public.to_text(), "--request", ask]
    assert audit(*given, home=home) == 0
    text = AddCheckpoint.from_bytes(ask.read_bytes()).note.partition("\n\n")[0] + "\n"
    (tmp_path / "answer").write_text(cosign(text, key, 2**62), "utf-8")
    assert audit(*given, "--response", tmp_path / "answer", home=home) == 1
    assert "an invalid time" in capsys.readouterr().err
    assert audit("verify", home=home) == 0


def test_a_home_without_a_log_meets_no_demand_for_a_witness(elsewhere: Path, capsys: Out) -> None:
    witness = WitnessKey.generate().public.to_text()
    assert audit("verify", "--witness-key", witness, home=elsewhere) == 1
    assert "cosigned" in capsys.readouterr().err
