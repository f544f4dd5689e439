"""Law 1 on real speech, with the bundled drafter and verifier: nothing derived from the audio is
sent, in any form that it might have."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import ugsd_sdk
from numpy.typing import NDArray
from ugsd_lab.data.compiled_librosa import compiled_librosa
from ugsd_privacy.protocol.messages import Block, Cover, decode_device_message
from ugsd_sdk.audio.samples import read_clip
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile

from tests.doubles.recording_proxy import BINARY, RecordingProxy
from tests.invariants.law_world import (
    USER,
    World,
    assert_every_byte_is_logged,
    waveforms,
)

PACKAGE = Path(ugsd_sdk.__file__).parent
TITLE, ARTIST = "canary of a title", "canary of an artist"
ENROLMENT = 3
CHUNK_BYTES = 8
"""Long enough that no such chunk occurs by chance in the few kilobytes that are sent."""


def as_chunks(values: NDArray[Any], every: int = 1) -> Iterator[bytes]:
    """Yield pieces of numbers as floats of three sizes and as bytes on three scales."""
    flat = np.ascontiguousarray(values, dtype=np.float64).ravel()
    top = np.abs(flat).max()
    forms = [flat.astype(kind) for kind in (np.float16, np.float32, np.float64)]
    scales = (127 / top, 127, 32)
    forms += [np.rint(flat * scale).clip(-127, 127).astype(np.int8) for scale in scales]
    for form in forms:
        step = max(1, CHUNK_BYTES // form.itemsize)
        for start in range(0, form.size - step, step * every):
            piece = form[start : start + step]
            if np.unique(piece).size > step // 2:  # a run of one value is no evidence
                yield piece.tobytes()


def mel(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Whisper's log-mel spectrogram: 80 bands, windows of 25 ms every 10 ms."""
    power = compiled_librosa().feature.melspectrogram(
        y=samples, sr=16_000, n_fft=400, hop_length=160, n_mels=80
    )
    logs = np.log10(np.maximum(power, 1e-10))
    floored = np.maximum(logs, logs.max() - 8)
    scaled: NDArray[np.float64] = (floored + 4) / 4
    return scaled


@pytest.fixture
def world(run_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    messages: list[bytes] = []

    def noted(message: bytes) -> Block | Cover:
        messages.append(message)
        return decode_device_message(message)

    monkeypatch.setattr("ugsd_server.session.decode_device_message", noted)
    server = run_server(starter=True, rank=40)
    bundled = sorted((PACKAGE / "starter" / "clips").glob("16*.opus"))
    clips = [tmp_path / f"canary-clip-{number}.wav" for number in range(len(bundled))]
    for source, clip in zip(bundled, clips, strict=True):
        samples, rate = soundfile.read(source, dtype="float32")
        with soundfile.SoundFile(clip, "w", samplerate=rate, channels=1) as file:
            file.title, file.artist = TITLE, ARTIST
            file.write(samples)
    with RecordingProxy(server.url, lambda sent: world.look_up(sent)) as proxy:  # noqa: PLW0108
        home = tmp_path / "canary-home"
        world = World(home, clips[0], server.public_key, proxy, messages, clips)
        yield world
        world.close()


def derived_pieces(world: World) -> Iterator[bytes]:
    """Yield pieces of everything that the device derives from the clips before the egress."""
    drafter = OnnxDrafter(PACKAGE / "starter")
    drafter.load()
    profile: SpeakerProfile = EMPTY_PROFILE
    for clip in world.clips:
        samples = read_clip(clip, None, target_rate=16_000)
        yield from waveforms(samples)
        yield from as_chunks(samples, every=50)
        yield from as_chunks(mel(samples), every=5)
        embedding = drafter.encode([samples], profile)
        assert embedding.voice is not None
        yield from as_chunks(embedding.voice.embedding)
        profile = profile.updated(embedding.voice)
        yield from as_chunks(profile.mean)
    drafter.close()


@pytest.mark.slow
def test_nothing_derived_from_audio_is_sent(world: World) -> None:
    captions = ENROLMENT + 4
    report = world.run(captions=captions, drafter="starter")
    assert report is not None
    assert report["stopped"] == []
    assert report["connected"] == [["127.0.0.1", world.proxy.port]]
    # What is accepted from a noised state, or without one, is not verified.
    assert set(report["unverified_reason"][ENROLMENT:]) <= {None, "not_judged"}
    (conversation,) = world.proxy.finished()
    assert_every_byte_is_logged(conversation, world.proxy.port)
    records = world.verified_records()
    assert [frame.record for frame in conversation.of(BINARY)] == records
    with_states = [record for record in records if record.state_positions]
    assert len(with_states) >= 3, "one caption in four discloses tokens alone"
    sent = bytes(conversation.raw) + b"".join(world.messages)
    for text in (USER, "canary", TITLE, ARTIST, *(text for text in report["texts"])):
        assert text.encode() not in sent
        assert base64.b64encode(text.encode()).rstrip(b"=") not in sent
    pieces = set(derived_pieces(world))
    assert len(pieces) > 20_000
    windows = {sent[at : at + CHUNK_BYTES] for at in range(len(sent))}
    found = [piece for piece in pieces if piece[:CHUNK_BYTES] in windows and piece in sent]
    assert found == [], "something derived from the audio was sent"
    assert next(iter(waveforms(read_clip(world.clips[0], None, target_rate=16_000)))) in pieces


def test_planted_audio_piece_would_be_found(world: World) -> None:
    """Each form, if it were sent as a message's payload, is among the pieces that are searched
    for."""
    samples = read_clip(world.clips[0], None, target_rate=16_000)
    spectrum = mel(samples)
    pieces = set(as_chunks(spectrum))
    scale = 127 / np.abs(spectrum).max()
    for form in (
        spectrum.astype(np.float16),
        spectrum.astype(np.float32),
        np.rint(spectrum * scale).clip(-127, 127).astype(np.int8),
    ):
        sent = np.ascontiguousarray(form).tobytes()
        assert any(piece in sent for piece in pieces)
