"""The state machine of a stream: chunks in, events out, whatever the source does."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_sdk.errors import BadSamples
from ugsd_sdk.speech.segmenter import Segmenter, SpeechStarted
from ugsd_sdk.streams.chunks import AudioChunk, mono_chunk
from ugsd_sdk.streams.events import DraftCaption, FinalCaption, StreamEvent, StreamGap
from ugsd_sdk.streams.utterance_captions import StreamOptions, UtteranceCaptions

from tests.doubles.streams import FakeCaptioner, LoudDetector, in_chunks, silence, speech


def events_of(captions: UtteranceCaptions, *items: object) -> list[StreamEvent]:
    events = [event for item in items for event in captions.push(mono_chunk(item, 16_000))]
    return events + list(captions.finish())


def finals(events: list[StreamEvent]) -> list[tuple[float, float]]:
    return [
        (round(one.start_s, 2), round(one.end_s, 2))
        for one in events
        if isinstance(one, FinalCaption)
    ]


def test_utterance_is_drafted_then_captioned() -> None:
    captioner = FakeCaptioner()
    samples = np.concatenate([silence(1), speech(2.5), silence(1)])

    events = events_of(captioner.captions(), *in_chunks(samples))

    assert [type(event) for event in events] == [
        SpeechStarted, DraftCaption, DraftCaption, FinalCaption,
    ]  # fmt: skip
    assert finals(events) == [(1, 3.5)]
    assert captioner.finals == [pytest.approx(2.5, abs=0.02)]


def test_draft_describes_the_last_seconds() -> None:
    captioner = FakeCaptioner()

    events = events_of(captioner.captions(), *in_chunks(speech(20)))

    drafts = [event for event in events if isinstance(event, DraftCaption)]
    assert len(drafts) >= 10
    assert max(captioner.drafts) <= 4
    assert all(draft.end_s - draft.start_s <= 4.001 for draft in drafts)


def test_slow_captioner_gets_no_drafts() -> None:
    now_s = 0.0
    captioner = FakeCaptioner()

    def caption(samples: np.ndarray, **given: object) -> object:
        nonlocal now_s
        now_s += 5.0
        return captioner(samples, **given)

    captions = UtteranceCaptions(
        LoudDetector(),
        caption,  # type: ignore[arg-type]
        StreamOptions(),
        clock=lambda: now_s,
    )
    events_of(captions, *in_chunks(speech(8)))

    assert len(captioner.drafts) == 2
    assert len(captioner.finals) == 1


def test_lost_packet_is_bridged_but_gap_ends_utterance() -> None:
    captioner = FakeCaptioner()
    chunks = [
        AudioChunk(speech(1), start_s=100.0),
        AudioChunk(speech(1), start_s=101.05),
        AudioChunk(speech(1), start_s=105.05),
    ]

    events = events_of(captioner.captions(drafts=False), *chunks)

    assert finals(events) == [(0, 2.05), (5.05, 6.05)]
    gaps = [event for event in events if isinstance(event, StreamGap)]
    assert [(round(gap.at_s, 2), round(gap.duration_s, 2)) for gap in gaps] == [(2.05, 3.0)]


def test_jitter_of_time_stamps_changes_nothing() -> None:
    captioner = FakeCaptioner()
    rng = np.random.default_rng(0)
    chunks = [
        AudioChunk(chunk, start_s=0.02 * index + rng.uniform(0, 0.009))
        for index, chunk in enumerate(in_chunks(speech(3)))
    ]

    assert finals(events_of(captioner.captions(), *chunks)) == [(0, 3)]


def test_time_that_goes_back_is_refused() -> None:
    captioner = FakeCaptioner()
    captions = captioner.captions()
    list(captions.push(mono_chunk(AudioChunk(speech(2), start_s=9.0), 16_000)))

    events = captions.push(mono_chunk(AudioChunk(speech(2), start_s=8.5), 16_000))

    assert isinstance(next(events), FinalCaption)
    with pytest.raises(BadSamples, match=r"0\.500 s before"):
        next(events)


def test_sample_rate_may_change_within_speech() -> None:
    captioner = FakeCaptioner()
    rates = (48_000, 16_000, 44_100, 8_000)
    chunks = [AudioChunk(np.full(rate, 0.1, np.float32), rate) for rate in rates]

    events = events_of(captioner.captions(drafts=False), *chunks)

    [(start_s, end_s)] = finals(events)
    assert start_s == pytest.approx(0, abs=0.02)
    assert end_s == pytest.approx(4, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["speech", "silence", "gap"]),
            st.floats(0.02, 2.5),
            st.sampled_from([16_000, 44_100]),
        ),
        max_size=12,
    )
)
def test_events_are_in_order_and_each_start_ends(parts: list[tuple[str, float, int]]) -> None:
    captioner = FakeCaptioner()
    chunks, at_s = [AudioChunk(silence(0.1), 16_000, 0.0)], 0.1
    for kind, seconds, rate in parts:
        if kind != "gap":
            level = 0.1 if kind == "speech" else 0.0
            chunks.append(AudioChunk(np.full(round(seconds * rate), level, np.float32), rate, at_s))
        at_s += seconds

    events = events_of(captioner.captions(), *chunks)

    last_s, speaking_s = 0.0, None
    for event in events:
        if isinstance(event, SpeechStarted):
            speaking_s = event.at_s
        elif isinstance(event, StreamGap):
            assert event.at_s >= last_s - 0.1
            speaking_s = None
        else:
            assert speaking_s is not None
            assert event.start_s < event.end_s <= at_s + 0.1
            if isinstance(event, FinalCaption):
                assert event.start_s >= last_s - 0.01
                last_s, speaking_s = event.end_s, None
    spoken_s = sum(end_s - start_s for start_s, end_s in finals(events))
    pushed_s = sum(seconds for kind, seconds, _ in parts if kind == "speech")
    assert spoken_s <= at_s + 0.1
    if pushed_s == 0:
        assert spoken_s == 0


def test_memory_stays_flat_for_an_hour() -> None:
    captioner = FakeCaptioner()
    captions = captioner.captions()
    captions._segmenter = Segmenter(LoudDetector(), windows_per_call=32)
    minute = np.concatenate([speech(3), silence(2)] * 12)

    def simulate(minutes: int) -> int:
        for _ in range(minutes):
            for chunk in in_chunks(minute, 16_000):
                for _event in captions.push(mono_chunk(AudioChunk(chunk), 16_000)):
                    pass
        captioner.finals.clear()
        captioner.drafts.clear()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = simulate(5)
        late = simulate(55)
    finally:
        tracemalloc.stop()

    assert late - early < 100_000
