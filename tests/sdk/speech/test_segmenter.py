"""Utterances are found as samples come, however they are cut into chunks."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_lab.data.corpora import load_corpora, read_samples
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.speech.segmenter import Segmenter, SegmenterEvent, SpeechSegment, SpeechStarted
from ugsd_sdk.speech.spans import SAMPLE_RATE, WINDOW_SAMPLES
from ugsd_sdk.speech.voice_activity import VoiceActivityDetector

from tests.doubles.streams import LoudDetector, silence, speech

DETECTOR = VoiceActivityDetector()


@cache
def conversation() -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Return five clips with silence around them, and where the detector finds each."""
    parts, spans, at = [silence(0.8)], [], 0.8
    for clip in [clip for clip in load_corpora(None) if clip.split == "test"][::25][:5]:
        samples = read_samples(clip)
        found = DETECTOR.find(samples).spans_s
        spans.append((at + found[0][0], at + found[-1][1]))
        parts += [samples, silence(1.1)]
        at += len(samples) / SAMPLE_RATE + 1.1
    return np.concatenate(parts), spans


def events_of(segmenter: object, samples: np.ndarray, sizes: list[int]) -> list[SegmenterEvent]:
    events, at = [], 0
    while at < len(samples):
        for size in sizes:
            events += segmenter.push(samples[at : at + size])  # type: ignore[attr-defined]
            at += size
    return events + segmenter.finish()  # type: ignore[attr-defined]


def segments_of(events: list[SegmenterEvent]) -> list[SpeechSegment]:
    return [event for event in events if isinstance(event, SpeechSegment)]


def test_utterances_of_real_speech_are_found() -> None:
    samples, spans = conversation()

    events = events_of(Segmenter(DETECTOR), samples, [320])

    found = segments_of(events)
    assert len(found) == len(spans)
    for segment, (start_s, end_s) in zip(found, spans, strict=True):
        assert abs(segment.start_s - start_s) < 0.15
        assert abs(segment.end_s - end_s) < 0.15
        assert len(segment.samples) == round((segment.end_s - segment.start_s) * SAMPLE_RATE)
        start = round(segment.start_s * SAMPLE_RATE)
        assert np.array_equal(segment.samples, samples[start : start + len(segment.samples)])
    assert [type(event) for event in events] == [SpeechStarted, SpeechSegment] * len(spans)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=6))
def test_chunk_sizes_change_nothing(sizes: list[int]) -> None:
    samples, _ = conversation()

    events = events_of(Segmenter(DETECTOR), samples[: 6 * SAMPLE_RATE], sizes)

    assert events == events_of(Segmenter(DETECTOR), samples[: 6 * SAMPLE_RATE], [6 * SAMPLE_RATE])


def test_segment_comes_right_after_the_pause() -> None:
    segmenter = Segmenter(LoudDetector(), end_pause_s=0.512)
    segmenter.push(np.concatenate([silence(1), speech(2)]))

    assert not segments_of(segmenter.push(silence(0.4)))
    assert len(segments_of(segmenter.push(silence(0.3)))) == 1


def test_speech_without_a_pause_is_cut_where_quiet() -> None:
    samples = speech(20)
    samples[7 * SAMPLE_RATE : 7 * SAMPLE_RATE + 3 * WINDOW_SAMPLES] = 0.01

    found = segments_of(events_of(Segmenter(LoudDetector(), max_segment_s=10), samples, [1000]))

    assert [segment.is_cut for segment in found] == [True, True, False]
    assert abs(found[0].end_s - 7) < 0.2
    assert all(len(segment.samples) <= 10 * SAMPLE_RATE for segment in found)
    assert sum(len(segment.samples) for segment in found) == len(samples)


def test_skipped_time_ends_the_utterance_and_counts() -> None:
    segmenter = Segmenter(LoudDetector())
    events = segmenter.push(speech(2)) + segmenter.skip(3 * SAMPLE_RATE)
    events += segmenter.push(speech(1)) + segmenter.finish()

    assert [(one.start_s, one.end_s) for one in segments_of(events)] == [(0, 2), (5, 6)]
    assert segmenter.position_s == 6


def test_click_is_dropped() -> None:
    samples = np.concatenate([silence(1), speech(0.09), silence(1)])

    assert segments_of(events_of(Segmenter(LoudDetector()), samples, [320])) == []


@pytest.mark.parametrize(
    "wrong", [{"end_pause_s": 0.01}, {"max_segment_s": float("nan")}, {"min_speech_s": -1}]
)
def test_number_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Segmenter(LoudDetector(), **wrong)  # type: ignore[arg-type]


def test_memory_is_bounded_by_the_longest_segment() -> None:
    segmenter = Segmenter(LoudDetector(), max_segment_s=5)
    for samples in (speech(7), silence(7)) * 4:
        segmenter.push(samples)
        assert segmenter._buffer.end - segmenter._buffer.start <= 6 * SAMPLE_RATE
        assert len(segmenter._buffer._samples) <= 24 * SAMPLE_RATE
