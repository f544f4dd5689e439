"""Samples that are given as arrays, tensors, series and lists."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_sdk.audio.samples import read_clip
from ugsd_sdk.errors import AudioError, BadSamples, EmptyAudio

from tests.sdk.audio.clips import assert_is_tone, tone

RATE = 16_000


def int16_tone(dtype: type = np.int16) -> NDArray[Any]:
    return (tone(RATE) * 2**15).astype(np.int16).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "scale", "offset"),
    [
        (np.float64, 1.0, 0),
        (np.float32, 1.0, 0),
        (np.float16, 1.0, 0),
        (np.longdouble, 1.0, 0),
        (">f4", 1.0, 0),
        (np.int8, 2**7, 0),
        (np.int16, 2**15, 0),
        (">i2", 2**15, 0),
        (np.int32, 2**31, 0),
        (np.uint8, 2**7, 2**7),
        (np.uint16, 2**15, 2**15),
        (np.uint32, 2**31, 2**31),
    ],
)
def test_arrays_of_every_type_are_scaled(dtype: Any, scale: float, offset: int) -> None:
    samples = (tone(RATE) * scale + offset).astype(dtype)
    assert_is_tone(read_clip(samples, RATE))
    assert_is_tone(read_clip(np.stack([samples, samples], 1), RATE))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_narrow_samples_in_wide_integers_are_scaled(dtype: type) -> None:
    assert_is_tone(read_clip(int16_tone(dtype), RATE))
    assert_is_tone(read_clip((tone(RATE) * 2**31).astype(np.int64), RATE))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
def test_narrow_samples_in_wide_unsigned_are_scaled(dtype: type) -> None:
    assert_is_tone(read_clip((tone(RATE) * 2**7 + 2**7).astype(dtype), RATE))


@pytest.mark.parametrize(
    ("samples", "way"),
    [
        ((tone(RATE) * 2**23).astype(np.int32), r"24-bit samples or a quiet.*2\*\*23"),
        ((tone(RATE) * 2**7 + 2**7).astype(np.int64), "never negative.*unsigned type"),
        (int16_tone().view(np.uint16), r"are signed samples.*\.view\(np.int16\)"),
    ],
    ids=["24 bits", "8-bit unsigned as int64", "signed as unsigned"],
)
def test_integers_of_unclear_scale_are_refused(samples: NDArray[Any], way: str) -> None:
    with pytest.raises(BadSamples, match=way):
        read_clip(samples, RATE)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_silence_of_any_type_is_silence(dtype: type) -> None:
    for value in (0, 1, 100):
        assert not read_clip(np.full(RATE, value, dtype), RATE).any()


class WithProtocol:
    """An array of another library, which has one protocol alone."""

    def __init__(self, name: str, method: Any) -> None:
        setattr(self, name, method)


class Tensor:
    """What a tensor of torch that learns does: no array before it is detached."""

    def __init__(self, *, learns: bool) -> None:
        self._learns = learns

    def detach(self) -> Tensor:
        return Tensor(learns=False)

    def __array__(self, dtype: object = None, copy: object = None) -> NDArray[Any]:
        if self._learns:
            raise RuntimeError("call detach")
        return tone(RATE)


class Dlpack:
    """An array of another library, by the protocol DLPack."""

    _samples = tone(RATE)

    def __dlpack__(self, **options: Any) -> object:
        return self._samples.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._samples.__dlpack_device__()


class Numpy:
    """A tensor of a library whose only way is ``numpy()``."""

    def numpy(self) -> NDArray[Any]:
        return tone(RATE)


@pytest.mark.parametrize(
    "samples",
    [
        tone(RATE).tolist(),
        tuple(tone(RATE).tolist()),
        int16_tone().tolist(),
        [[sample, sample] for sample in tone(RATE).tolist()],
        array.array("f", tone(RATE)),
        array.array("d", tone(RATE)),
        array.array("h", int16_tone()),
        Tensor(learns=True),
        Dlpack(),
        Numpy(),
        np.ma.masked_array(tone(RATE), mask=False),
    ],
    ids=[
        *("list", "tuple", "integers", "nested list", "float array", "double array"),
        *("short array", "learning tensor", "dlpack", "numpy()", "unmasked"),
    ],
)
def test_samples_of_other_kinds_are_read(samples: Any) -> None:
    assert_is_tone(read_clip(samples, RATE))


def test_torch_tensors_are_read() -> None:
    torch = pytest.importorskip("torch")
    mono = torch.from_numpy(tone(RATE).astype(np.float32))
    for tensor in (mono, mono[None], mono[None, None], mono.repeat(2, 1).requires_grad_()):
        assert_is_tone(read_clip(tensor, RATE))


def test_channels_may_stand_first_or_last() -> None:
    samples = np.stack([tone(RATE), tone(RATE, amplitude=0.1)])
    np.testing.assert_array_equal(read_clip(samples, RATE), read_clip(samples.T, RATE))
    np.testing.assert_array_equal(read_clip(samples[None], RATE), read_clip(samples, RATE))


@pytest.mark.parametrize("shape", [(1, 1), (2, 8), (8, 2), (4, 4)])
def test_small_shapes_are_refused_as_ambiguous(shape: tuple[int, int]) -> None:
    with pytest.raises(BadSamples, match=r"samples or channels first: give \(samples,\)"):
        read_clip(np.ones(shape), RATE)


@pytest.mark.parametrize(
    "rate", [16_000.0, np.float32(16_000), np.int64(16_000), np.uint16(16_000)]
)
def test_whole_sample_rates_of_any_type_are_taken(rate: Any) -> None:
    assert_is_tone(read_clip(tone(RATE), rate))


@pytest.mark.parametrize(
    "rate", [0, 0.0, -16_000, 1_000_000, 16_000.5, float("nan"), float("inf"), True, "16000", None]
)
def test_no_sample_rate_is_guessed(rate: Any) -> None:
    with pytest.raises(BadSamples, match=r"sample.rate"):
        read_clip(tone(RATE), rate)


@pytest.mark.parametrize("masked", [slice(None), slice(100, 101)])
def test_masked_samples_are_refused(masked: slice) -> None:
    samples = np.ma.masked_array(tone(RATE), mask=False)
    samples[masked] = np.ma.masked
    with pytest.raises(BadSamples, match="samples are masked, the first at"):
        read_clip(samples, RATE)


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        pytest.param([tone(RATE), tone(RATE)], BadSamples, id="list of arrays"),
        pytest.param([[0.0], [0.0, 1.0]], BadSamples, id="ragged list"),
        pytest.param([], EmptyAudio, id="empty list"),
        pytest.param(["a"] * RATE, BadSamples, id="list of text"),
        pytest.param([True] * RATE, BadSamples, id="list of booleans"),
        pytest.param([10**30] * RATE, BadSamples, id="endless integers"),
        pytest.param({1: 2}, BadSamples, id="dictionary"),
        pytest.param(object(), BadSamples, id="object"),
        pytest.param(np.float32(1), BadSamples, id="number"),
        pytest.param(tone(RATE).reshape(10, 10, -1), BadSamples, id="three axes"),
        pytest.param(tone(RATE).reshape(100, -1), BadSamples, id="100 channels"),
        pytest.param(np.zeros((0, 2)), EmptyAudio, id="no samples"),
    ],
)
def test_what_is_no_samples_is_refused(samples: Any, error: type[AudioError]) -> None:
    with pytest.raises(error):
        read_clip(samples, RATE)


def test_a_list_of_pieces_names_the_way() -> None:
    with pytest.raises(BadSamples, match=r"list of ndarray: join the pieces.*np\.concatenate"):
        read_clip([tone(RATE), tone(RATE)], RATE)


@pytest.mark.parametrize("at", [0, 7_000, 15_999])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_bad_samples_are_named_by_time(at: int, value: float) -> None:
    samples = np.stack([tone(RATE), tone(RATE)], 1)
    samples[at, 1] = value
    with pytest.raises(BadSamples, match=f"the first at {at / RATE:.3f} s"):
        read_clip(samples, RATE)


def test_samples_given_are_neither_changed_nor_returned() -> None:
    samples = tone(RATE).astype(np.float32)
    before = samples.copy()
    read = read_clip(samples, RATE)
    np.testing.assert_array_equal(read, before)
    read[:] = 0
    np.testing.assert_array_equal(samples, before)
