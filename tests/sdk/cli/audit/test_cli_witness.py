"""``ugsd audit cosign`` and ``witness``: cosigned checkpoints by files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.witness import WitnessKey, WitnessPublicKey
from ugsd_privacy.tlog.checkpoint import sign_checkpoint
from ugsd_privacy.tlog.cosignature import cosign
from ugsd_privacy.tlog.witness import AddCheckpoint

from tests.sdk.cli.audit.commands import FileExchange, Out, add_records, audit


def test_export_contains_cosignatures(
    home: Path, log_key: str, tmp_path: Path, capsys: Out
) -> None:
    exchange, file = FileExchange(tmp_path / "carried", log_key, capsys), tmp_path / "log.ugsd"
    exchange.read_key()
    assert audit(*exchange.request_command(), home=home) == 0
    assert exchange.run_witness() == 0
    assert audit(*exchange.response_command(), home=home) == 0
    add_records(home)
    assert audit("export", file, home=home) == 0
    capsys.readouterr()
    assert audit("verify", file, "--log-key", log_key, "--witness-key", exchange.key) == 0
    assert "cosigned 6 of the 14 records" in capsys.readouterr().out


def test_witness_by_files_detects_rollback(
    home: Path, log_key: str, send_caption: Callable[[], None], tmp_path: Path, capsys: Out
) -> None:
    exchange, file = FileExchange(tmp_path / "carried", log_key, capsys), tmp_path / "log.ugsd"
    exchange.read_key()
    assert audit("verify", "--witness-key", exchange.key, home=home) == 1
    assert "cosigned none of these checkpoints" in capsys.readouterr().err
    assert audit(*exchange.request_command(), home=home) == 0
    assert exchange.run_witness() == 0
    capsys.readouterr()
    assert audit(*exchange.response_command(), home=home) == 0
    assert "cosigned 6 records;" in capsys.readouterr().out
    first = exchange.request.read_bytes(), exchange.response.read_bytes()
    backup = tmp_path / "backup"
    shutil.copytree(home, backup)
    send_caption()
    assert audit(*exchange.request_command(), home=home) == 0
    assert "continues from 6 records" in capsys.readouterr().out
    assert exchange.run_witness() == 0
    assert audit(*exchange.response_command(), home=home) == 0
    exchange.request.write_bytes(first[0])
    exchange.response.write_bytes(first[1])
    capsys.readouterr()
    assert audit(*exchange.response_command(), home=home) == 0
    assert "cosigned 12 records later" in capsys.readouterr().out
    assert audit("verify", "--witness-key", exchange.key, home=home) == 0
    assert "cosigned 12 of the 12 records at 20" in capsys.readouterr().out
    assert audit("export", file, "--tiles", tmp_path / "t", home=home) == 0
    assert (tmp_path / "t" / "checkpoint").read_text("utf-8").count("— ") == 2
    capsys.readouterr()
    assert audit("verify", file, "--log-key", log_key, "--witness-key", exchange.key) == 0
    assert "cosigned 12 of the 12" in capsys.readouterr().out
    other = WitnessKey.generate().public.to_text()
    assert audit("verify", file, "--witness-key", other) == 1

    # Only the ledger is restored: the cosigned checkpoints beside it expose that.
    shutil.rmtree(home / "ledger")
    shutil.copytree(backup / "ledger", home / "ledger")
    (home / "ledger.anchor").write_bytes((backup / "ledger.anchor").read_bytes())
    assert audit("verify", home=home) == 1
    assert "truncated: 12 leaves were signed, but only 6 are here" in capsys.readouterr().err
    assert audit("report", "--format", "md", "--out", tmp_path / "r.md", home=home) == 1
    assert "NOT verify at record 6" in (tmp_path / "r.md").read_text("utf-8")
    assert audit(*exchange.request_command(), home=home) == 1
    assert "rolled back: the witness cosigned 12 leaves, but only 6" in capsys.readouterr().err

    # The whole home is restored: the witness itself detects that.
    assert audit(*exchange.request_command(), home=backup) == 0
    assert exchange.run_witness() == 1
    assert "this witness has cosigned 12 records" in capsys.readouterr().err
    assert audit(*exchange.response_command(), home=backup) == 1
    assert "rolled back: the witness cosigned 12 leaves, but only 6" in capsys.readouterr().err

    # The restored home continues: its log has forked.
    add_records(backup)
    assert audit(*exchange.request_command(), home=backup) == 0
    assert exchange.run_witness() == 1
    assert audit(*exchange.response_command(), home=backup) == 1
    assert "once more" in capsys.readouterr().err
    assert exchange.run_witness() == 1
    assert "refused (422)" in capsys.readouterr().err


def test_witness_that_is_behind_is_asked_again(
    home: Path, log_key: str, tmp_path: Path, capsys: Out
) -> None:
    exchange = FileExchange(tmp_path / "carried", log_key, capsys)
    exchange.read_key()
    assert audit(*exchange.request_command(), home=home) == 0
    assert exchange.run_witness() == 0, "an answer that never came back"
    assert audit(*exchange.request_command(), home=home) == 0, "the device has no cosignature"
    assert exchange.run_witness() == 1, "the witness has cosigned 6"
    assert audit(*exchange.response_command(), home=home) == 1
    assert f"send it {exchange.request} once more" in capsys.readouterr().err
    assert exchange.run_witness() == 0
    assert audit(*exchange.response_command(), home=home) == 0


def test_witness_creates_key_and_requires_all_options(
    log_key: str, tmp_path: Path, capsys: Out
) -> None:
    state, ask = ["--state", tmp_path / "w"], ["--request", tmp_path / "ask"]
    printed = []
    for _ in range(2):
        assert audit("witness", *state) == 0
        printed.append(capsys.readouterr())
    assert printed[0] == printed[1]
    key = WitnessPublicKey.from_text(printed[0].out)  # the bare key, for a file
    assert printed[0].err == f"public key of witness {key.name}\n"
    back, key = ["--response", tmp_path / "answer"], ["--log-key", log_key]
    for given in (ask, [*ask, *back], [*ask, *key], back):
        assert audit("witness", *state, *given) == 2
    assert "--request" in capsys.readouterr().err
    (tmp_path / "w" / "witness.sqlite3").write_bytes(b"")
    assert audit("witness", *state) == 1
    assert "no longer knows what it cosigned" in capsys.readouterr().err


def test_witness_refuses_a_fork_without_an_answer(tmp_path: Path, capsys: Out) -> None:
    key = LogKey.generate()
    exchange = FileExchange(tmp_path / "carried", key.public.to_text(), capsys)
    for old, root, code in ((0, bytes(32), 0), (3, b"f" * 32, 1)):
        exchange.response.unlink(missing_ok=True)
        note = sign_checkpoint(3, root, key)
        exchange.request.write_bytes(AddCheckpoint(old, (), note).to_bytes())
        assert exchange.run_witness() == code
    assert "refused (409): another tree of 3 leaves" in capsys.readouterr().err
    assert not exchange.response.exists()


def test_cosignature_with_invalid_time_is_refused(home: Path, tmp_path: Path, capsys: Out) -> None:
    key, ask = WitnessKey.generate(), tmp_path / "ask"
    given = ["cosign", "--witness-key", key.public.to_text(), "--request", ask]
    assert audit(*given, home=home) == 0
    text = AddCheckpoint.from_bytes(ask.read_bytes()).note.partition("\n\n")[0] + "\n"
    (tmp_path / "answer").write_text(cosign(text, key, 2**62), "utf-8")
    assert audit(*given, "--response", tmp_path / "answer", home=home) == 1
    assert "an invalid time" in capsys.readouterr().err
    assert audit("verify", home=home) == 0


def test_missing_log_fails_a_required_witness(elsewhere: Path, capsys: Out) -> None:
    witness = WitnessKey.generate().public.to_text()
    assert audit("verify", "--witness-key", witness, home=elsewhere) == 1
    assert "cosigned" in capsys.readouterr().err


def test_garbage_is_no_answer_of_a_witness(
    home: Path, log_key: str, tmp_path: Path, capsys: Out
) -> None:
    exchange = FileExchange(tmp_path / "carried", log_key, capsys)
    exchange.read_key()
    assert audit(*exchange.request_command(), home=home) == 0
    exchange.response.write_text("<html>502 Bad Gateway</html>")
    assert audit(*exchange.response_command(), home=home) == 1
    assert "not a witness's answer: give the file with its" in capsys.readouterr().err


def test_witness_state_that_is_a_file_fails(tmp_path: Path, capsys: Out) -> None:
    state = tmp_path / "state"
    state.write_text("no folder")
    assert audit("witness", "--state", state) == 1
    assert capsys.readouterr().err == (
        f"ugsd: {state} is a file: give a folder for the witness's state\n"
    )


def test_folder_without_checkpoint_is_no_log(tmp_path: Path, capsys: Out) -> None:
    assert audit("verify", tmp_path) == 1
    assert capsys.readouterr().err == (
        f"ugsd: {tmp_path} holds no checkpoint: give an export or a folder of tiles\n"
    )
