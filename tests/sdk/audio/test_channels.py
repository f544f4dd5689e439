"""Channels of a recording, apart and together."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_sdk.audio.channels import ChannelLayout, ChannelReader
from ugsd_sdk.audio.samples import read_clip
from ugsd_sdk.errors import AudioError, BadSamples, UnreadableAudio

from tests.sdk.audio.clips import encoded, tone

APART, TOGETHER = ChannelLayout.APART, ChannelLayout.TOGETHER


def opened(clip: object, layout: ChannelLayout, rate: int | None = None) -> ChannelReader:
    with ChannelReader(clip, rate, layout=layout) as reader:  # type: ignore[arg-type]
        reader.joined = np.concatenate(list(reader.pieces()))  # type: ignore[attr-defined]
    return reader


def noise(seed: int, seconds: float = 25.0, rate: int = 16_000) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, int(seconds * rate)).astype(np.float32)


def test_channels_apart_keep_their_own_sound() -> None:
    left, right = noise(0), noise(1)
    reader = opened(encoded(np.stack([left, right], 1), 16_000, "WAV", "FLOAT"), APART)
    assert np.array_equal(reader.joined, np.stack([left, right], 1))  # type: ignore[attr-defined]
    assert (reader.kept, reader.silent, reader.is_same) == ((0, 1), (), False)
    assert reader.duration_s == 25


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_channels_apart_sound_as_each_does_alone(rate: int) -> None:
    left, right = noise(0, 12, rate), noise(1, 12, rate)
    stereo = encoded(np.stack([left, right], 1), rate, "FLAC")
    reader = opened(stereo, APART)
    for column, alone in enumerate((left, right)):
        expected = read_clip(encoded(alone, rate, "FLAC"))
        assert np.allclose(reader.joined[:, column], expected, atol=1e-4)  # type: ignore[attr-defined]


def test_one_factor_scales_loud_channels() -> None:
    stereo = np.stack([8 * noise(0), 2 * noise(1)], 1)
    joined = opened(encoded(stereo, 16_000, "WAV", "FLOAT"), APART).joined  # type: ignore[attr-defined]
    assert np.abs(joined).max() == pytest.approx(1)
    assert np.allclose(joined, stereo / np.abs(stereo).max(), atol=1e-6)


def test_channels_together_are_the_mix_of_a_clip() -> None:
    stereo = encoded(np.stack([noise(0), noise(1)], 1), 16_000, "FLAC")
    reader = opened(stereo, TOGETHER)
    assert np.array_equal(reader.joined[:, 0], read_clip(stereo))  # type: ignore[attr-defined]
    assert (reader.num_channels, reader.kept) == (2, ())


def test_a_silent_channel_is_left_out() -> None:
    reader = opened(np.stack([1e-3 * noise(0), noise(1), noise(2)], 1), APART, 16_000)
    assert (reader.silent, reader.kept) == ((0,), (1, 2))
    assert reader.joined.shape[1] == 2  # type: ignore[attr-defined]


def test_channel_of_one_short_answer_is_read() -> None:
    answer = np.zeros_like(noise(0))
    answer[:1600] = 0.05
    answer[::2] *= -1
    assert opened(np.stack([noise(0), answer], 1), APART, 16_000).silent == ()


@pytest.mark.parametrize("gain", [1.0, 0.4, -1.0])
def test_one_sound_on_both_channels_is_read_once(gain: float) -> None:
    sound = noise(0)
    reader = opened(np.stack([gain * sound, sound], 1), APART, 16_000)
    assert reader.is_same
    assert reader.joined.shape[1] == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("layout", ChannelLayout)
def test_mono_is_one_channel(layout: ChannelLayout) -> None:
    reader = opened(noise(0), layout, 16_000)
    assert np.array_equal(reader.joined[:, 0], noise(0))  # type: ignore[attr-defined]
    assert (reader.num_channels, reader.is_same) == (1, False)


def test_pieces_have_ten_seconds() -> None:
    with ChannelReader(noise(0, 25), 16_000, layout=APART) as reader:
        assert [len(piece) for piece in reader.pieces()] == [160_000, 160_000, 80_000]


def test_damage_is_found_before_the_first_piece() -> None:
    data = encoded(np.stack([noise(0), noise(1)], 1), 16_000, "FLAC")
    with pytest.raises(UnreadableAudio), ChannelReader(data[:-5000], layout=APART):
        pass
    bad = noise(0)
    bad[99] = np.nan
    with pytest.raises(BadSamples), ChannelReader(bad, 16_000, layout=APART):
        pass


def test_chained_links_of_other_channels_are_refused() -> None:
    links = [
        encoded(np.stack([tone(16_000)] * count, 1), 16_000, "OGG", "VORBIS") for count in (1, 2)
    ]
    with pytest.raises(AudioError, match="read them together"):
        opened(b"".join(links), APART)
    assert opened(b"".join(links), TOGETHER).duration_s == pytest.approx(2, abs=0.1)
