"""The embedded verifier: a real child process, a real key, a real ONNX graph."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.protocol.traffic_shape import CONSTANT_FRAME_BYTES
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.connection.embedded import EmbeddedVerifier
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.decoding.policy import AlwaysEscalate, NeverEscalate
from ugsd_sdk.drafter.scripted import EOS, ScriptedDrafter
from ugsd_sdk.settings.config import Settings, VerifierSettings

from tests.doubles.reasons import why_of

Voice = NDArray[np.float32]
WIDTH = 8


def graph(words: int, state_dim: int) -> bytes:
    """Return a model that predicts from the last token alone; its cache holds the embeddings."""
    noise = np.random.default_rng(0)
    constants = {
        "embedding": noise.normal(size=(words, WIDTH)).astype(np.float32),
        "out": noise.normal(size=(WIDTH, words)).astype(np.float32),
        "axes": np.array([0, 1, 3]),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "tokens"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "out"], ["logits"]),
        helper.make_node("Unsqueeze", ["embedded", "axes"], ["one"]),
        helper.make_node("Concat", ["one", "one"], ["both"], axis=1),
        helper.make_node("Concat", ["past", "both"], ["present"], axis=4),
    ]
    single, whole = TensorProto.FLOAT, TensorProto.INT64
    past = [1, 2, "N", 1, "P", WIDTH]
    inputs = [
        helper.make_tensor_value_info("tokens", whole, ["N", "T"]),
        helper.make_tensor_value_info("states", single, ["N", "T", state_dim]),
        helper.make_tensor_value_info("has_state", single, ["N", "T"]),
        helper.make_tensor_value_info("past", single, past),
    ]
    outputs = [
        helper.make_tensor_value_info("logits", single, ["N", "T", words]),
        helper.make_tensor_value_info("present", single, [*past[:4], "S", WIDTH]),
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    made = helper.make_graph(nodes, "last", inputs, outputs, tensors)
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(made, opset_imports=opset, ir_version=9).SerializeToString())


@pytest.fixture
def _model(tmp_path: Path, drafter: ScriptedDrafter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the child load a verifier that fits the drafter."""
    folder, info = tmp_path / "model", drafter.info
    folder.mkdir()
    model = graph(drafter.vocabulary_size, info.state_dim)
    (folder / "verifier.onnx").write_bytes(model)
    description = {
        "format": 2,
        "name": "last token",
        "licence": "test data",
        "vocabulary": info.vocabulary.hex(),
        "projections": [info.projection.hex()],
        "bos": drafter.vocabulary_size - 1,
        "eos": EOS,
        "vocabulary_size": drafter.vocabulary_size,
        "state_dim": info.state_dim,
        "max_tokens": info.max_tokens,
        "content_tokens": [],
        "slots": {},
        "layers": 1,
        "heads": 1,
        "head_dim": WIDTH,
        "files": {"verifier.onnx": hashlib.sha256(model).hexdigest()},
    }
    (folder / "model.json").write_text(json.dumps(description))
    run_with(monkeypatch, model=folder)


def run_with(monkeypatch: pytest.MonkeyPatch, *, model: Path) -> None:
    """Make the child load the verifier in the folder ``model``."""
    command = EmbeddedVerifier._command
    monkeypatch.setattr(
        EmbeddedVerifier, "_command", lambda self: [*command(self), "--model", str(model)]
    )


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """Every child process that is started."""
    started: list[subprocess.Popen[str]] = []
    real = subprocess.Popen

    class Remembered(real):  # type: ignore[type-arg,misc]
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr("ugsd_sdk.connection.embedded.subprocess.Popen", Remembered)
    return started


@pytest.mark.usefixtures("_model")
def test_embedded_captions_are_verified_and_logged(
    drafter: ScriptedDrafter,
    voice: Voice,
    tmp_path: Path,
    children: list[subprocess.Popen[str]],
) -> None:
    home = tmp_path / "home"
    for _ in range(2):  # the second run finds its keys and continues the log
        with Captioner(
            drafter, verifier="embedded", home=home, policy=AlwaysEscalate()
        ) as captioner:
            captioner.wait_until_connected(30)
            caption = captioner.caption(voice, 16_000)
        assert caption.unverified_reason is None
        assert TokenSource.DRAFTED not in {token.source for token in caption.tokens}
        assert caption.usage.num_frames == len(caption.receipts) > 0
    with Ledger(home / "ledger") as ledger:
        summary = verify_log(ledger, LogKey.load(home / "log.key").public)
    assert summary.total.blocks == 2 * caption.usage.num_blocks
    assert len(children) == 2
    assert [child.poll() for child in children] == [0, 0]
    assert (home / "verifier" / "verifier.key").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("_model")
def test_cover_frames_are_answered_like_blocks(
    drafter: ScriptedDrafter, voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = {"UGSD_SERVER_REPLY_AFTER_MS": "300"}
    monkeypatch.setattr(EmbeddedVerifier, "_environment", lambda self: patience)
    settings = Settings(traffic_shape="constant", verifier=VerifierSettings(deadline_s=10))
    costs, waits = [], []
    for policy in (AlwaysEscalate(), NeverEscalate()):
        with Captioner(
            drafter, verifier="embedded", home=tmp_path / "home", policy=policy, config=settings
        ) as captioner:
            captioner.wait_until_connected(30)
            caption = captioner.caption(voice, 16_000)
        costs.append((caption.usage.num_frames, caption.usage.bytes_sent))
        costs.append((len(caption.receipts), caption.usage.bytes_received))
        waits.append(caption.latency_ms.wait)
    assert costs == [(1, CONSTANT_FRAME_BYTES)] * 4
    assert min(waits) > 290
    assert {token.source for token in caption.tokens} == {TokenSource.DRAFTED}


@pytest.mark.usefixtures("_model")
def test_all_users_share_one_child(
    drafter: ScriptedDrafter, voice: Voice, tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    with Captioner(
        drafter, verifier="embedded", home=tmp_path / "home", policy=AlwaysEscalate()
    ) as captioner:
        users = [None, "ada", "ben"]
        for user in users:
            captioner.wait_until_connected(30, user=user)
        captions = [captioner.caption(voice, 16_000, user=user) for user in users]
        captioner.forget_user("ada")
        captions.append(captioner.caption(voice, 16_000, user="ben"))
    assert [caption.unverified_reason for caption in captions] == [None] * 4
    assert len(children) == 1


@pytest.mark.usefixtures("_model")
def test_exception_in_the_block_ends_the_child(
    drafter: ScriptedDrafter, tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    with (  # noqa: PT012
        pytest.raises(RuntimeError),
        Captioner(drafter, verifier="embedded", home=tmp_path / "home") as captioner,
    ):
        captioner.wait_until_connected(30)
        raise RuntimeError("the app fails")
    assert children[0].poll() is not None


@pytest.mark.usefixtures("_model")
def test_closing_during_startup_leaves_no_child(
    drafter: ScriptedDrafter, tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    captioner = Captioner(drafter, verifier="embedded", home=tmp_path / "home")
    captioner.load()
    captioner.close()
    time.sleep(1)  # long enough for a child that was about to be started
    deadline = time.monotonic() + 10
    while any(child.poll() is None for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(child.poll() is not None for child in children)


@pytest.mark.usefixtures("_model")
def test_killed_child_is_replaced_on_a_later_caption(
    drafter: ScriptedDrafter, voice: Voice, tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    with Captioner(
        drafter, verifier="embedded", home=tmp_path / "home", policy=AlwaysEscalate()
    ) as captioner:
        captioner.wait_until_connected(30)
        children[0].kill()
        children[0].wait()
        captioner.caption(voice, 16_000)
        captioner.wait_until_connected(30)
        assert captioner.caption(voice, 16_000).unverified_reason is None
    assert len(children) == 2


def test_missing_model_leaves_captions_unverified(
    drafter: ScriptedDrafter, voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_with(monkeypatch, model=tmp_path / "nothing")
    with Captioner(
        drafter, verifier="embedded", home=tmp_path / "home", policy=AlwaysEscalate()
    ) as captioner:
        with pytest.raises(Exception, match=r"embedded-verifier\.log"):
            captioner.wait_until_connected(30)
        assert why_of(captioner.caption(voice, 16_000).unverified_reason) == "verifier_unreachable"


def test_child_is_the_bundled_server() -> None:
    command = EmbeddedVerifier(Path("home"))._command()
    assert command[1:3] == ["-I", "-c"]
    assert command[4] == "ugsd_server"
    assert command[command.index("--host") + 1] == "127.0.0.1"
