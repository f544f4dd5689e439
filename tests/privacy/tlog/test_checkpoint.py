from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.keys.log import LogKey, NotePublicKey
from ugsd_privacy.tlog.checkpoint import (
    Checkpoint,
    open_checkpoint,
    open_note,
    sign_checkpoint,
    sign_note,
)

# The example of golang.org/x/mod/sumdb/note's documentation.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_NOTE = (
    GO_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXg"
    + "KvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ROOT = bytes(range(32))


def test_note_written_by_go_opens() -> None:
    assert open_note(GO_NOTE, NotePublicKey.from_text(GO_KEY)) == GO_TEXT


def test_checkpoint_opens_as_signed(log_key: LogKey) -> None:
    note = sign_checkpoint(7, ROOT, log_key)
    origin = log_key.public.origin
    assert open_checkpoint(note, log_key.public) == Checkpoint(origin, 7, ROOT)
    assert note.startswith(
        f"{origin}\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n— {origin} "
    )


@given(st.data())
def test_changed_checkpoints_are_refused(log_key: LogKey, data: st.DataObject) -> None:
    note = sign_checkpoint(7, ROOT, log_key)
    at = data.draw(st.integers(0, len(note) - 1))
    changed = note[:at] + data.draw(st.text(max_size=3)) + note[at + 1 :]
    if changed != note:
        with pytest.raises(LogTampered):
            open_checkpoint(changed, log_key.public)


def test_signature_has_one_encoding(log_key: LogKey) -> None:
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    note = sign_checkpoint(7, ROOT, log_key)
    last = note[-3]  # before "=" and a newline: two of its bits are stray
    assert note.endswith("=\n")
    assert alphabet.index(last) % 4 == 0
    with pytest.raises(LogTampered, match="damaged"):
        open_checkpoint(note[:-3] + alphabet[alphabet.index(last) + 1] + note[-2:], log_key.public)


@given(st.text())
def test_arbitrary_text_is_refused(log_key: LogKey, text: str) -> None:
    with pytest.raises(LogTampered):
        open_checkpoint(text, log_key.public)


def test_additional_witness_signature_is_accepted(log_key: LogKey) -> None:
    note = sign_checkpoint(7, ROOT, log_key)
    witness = sign_note(note.split("\n\n")[0] + "\n", LogKey.generate()).split("\n\n")[1]
    assert open_checkpoint(note + witness, log_key.public).size == 7
    text = note.split("\n\n")[0]
    with pytest.raises(LogTampered, match="did not sign"):
        open_checkpoint(f"{text}\n\n{witness}", log_key.public)


@pytest.mark.parametrize(
    "body",
    [
        "{origin}\n7\n",
        "{origin}\n07\n{root}\n",
        "{origin}\n-1\n{root}\n",
        "{origin}\n٧\n{root}\n",
        "other\n7\n{root}\n",
        "{origin}\n7\nAAAA\n",
        "{origin}\n7\n{root}\nextension\n",
        "{origin}\n99999999999999999999\n{root}\n",
    ],
)
def test_signed_notes_without_checkpoint_are_refused(log_key: LogKey, body: str) -> None:
    root = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    text = body.format(origin=log_key.public.origin, root=root)
    with pytest.raises(LogTampered):
        open_checkpoint(sign_note(text, log_key), log_key.public)
