"""``ugsd-lab bench link``: what a network, a slow device and a verifier's CPU make of each system.

The captioner, the egress, the sealed session, the websocket and the server are the real ones, and
the verifier is a process of its own. Three things are emulated, and declared in every row: the
link, by a proxy (:mod:`~ugsd_lab.bench.emulated_link`), the device's speed, by sleeping
(:mod:`~ugsd_lab.bench.link_device`), and with the paper's step times also the verifier's. Encoding
is the same for every system: it is timed once for each clip, and added. The speaker is enrolled,
the session is open, and deadlines are long, so that a slow row is not a refused one.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count, cycle, islice
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING
from unittest.mock import patch

from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.reasons import ReasonCode
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.connection.exchange import Exchange
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.speech.reader import WholeRecording
from ugsd_server.settings import STARTER_FOLDER
from ugsd_server.verifier.onnx import OnnxScorer

from ugsd_lab.bench.emulated_link import EmulatedLink, LinkConditions
from ugsd_lab.bench.link_clips import EncodedClip, encode_clips, truths_of
from ugsd_lab.bench.link_device import Device, DeviceTransport, Slowdown
from ugsd_lab.bench.link_drafter import EmulatedDrafter
from ugsd_lab.bench.link_rows import LinkRow, LinkStudy, Measured, emotion_of, row_of
from ugsd_lab.bench.link_settings import ALONE, LinkSystem, Setting, systems_for
from ugsd_lab.bench.link_yardstick import split_captions
from ugsd_lab.bench.verifier_process import VerifierProcess
from ugsd_lab.evaluation.claims import checked_claims, stated_values
from ugsd_lab.evaluation.systems import CachedDrafter
from ugsd_lab.training.verifier_decoding import projection_index

if TYPE_CHECKING:
    from ugsd_sdk.caption import Caption

    from ugsd_lab.data.corpora import Clip
    from ugsd_lab.evaluation.claim_truth import Truth
    from ugsd_lab.models.embeddings import Progress

__all__ = ["bench_link"]

_PATIENT_S = 600
_LEARNING = 2
"""Captions that are made before any is measured, by systems that act on measured times."""
_REPLAYED_EVERY = 3
"""One in so many clips is captioned with replayed times, which take half a minute and hardly depend
on the clip."""
_NO_CAPS = BudgetLimits.without_caps()


def bench_link(
    clips: Sequence[Clip],
    drafter: Path,
    settings: Sequence[Setting],
    links: Sequence[LinkConditions],
    systems: set[str],
    progress: Progress,
    *,
    num_clips: int,
    cache: Path,
) -> LinkStudy:
    """Run the ``systems`` on ``num_clips`` clips of each corpus, in every one of the ``settings``
    and over every one of the ``links``. The drafter alone needs no link and runs once. ``cache``
    keeps measured prosody."""
    device = Device(Slowdown(1))
    emulated = EmulatedDrafter(drafter, device)
    cached = CachedDrafter(emulated)
    cached.load()
    predictor = RejectionPredictor.load(drafter / "gate.json")
    encoded = encode_clips(cached, emulated, clips, num_clips, progress)
    truths = truths_of(encoded, cache, progress)
    with tempfile.TemporaryDirectory(prefix="ugsd-link-") as home, ExitStack() as stack:
        bench = _Bench(emulated, cached, device, predictor, Path(home), stack)
        planned = _planned(settings, links, systems, predictor.threshold)
        rows: list[LinkRow] = []
        for done, (setting, link, system) in enumerate(planned, 1):
            every = 1 if isinstance(setting.pace, Slowdown) else _REPLAYED_EVERY
            measured = bench.run(setting, link, system, encoded[::every], truths)
            rows.append(row_of(setting, link, system, measured))
            progress("captioning", done, len(planned), f"{setting.device}: {system.name}")
    return LinkStudy(tuple(rows), len(encoded), _names(encoded))


_Planned = tuple[Setting, LinkConditions | None, LinkSystem]


def _planned(
    settings: Sequence[Setting],
    links: Sequence[LinkConditions],
    systems: set[str],
    threshold: float,
) -> list[_Planned]:
    """Return every run. The drafter alone needs neither link nor verifier, and runs once for each
    device and kind of captions."""
    planned: list[_Planned] = []
    done: set[tuple[str, str]] = set()
    for setting in settings:
        for system in systems_for(setting.load, threshold):
            if system.name == ALONE:
                if (setting.device, setting.load.name) not in done:
                    planned.append((setting, None, system))
                done.add((setting.device, setting.load.name))
            elif system.name in systems:
                planned += [(setting, link, system) for link in links]
    return planned


def _names(encoded: Sequence[EncodedClip]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.clip.corpus for one in encoded))


class _Bench:
    """What all runs share: the drafter, and the verifier processes, which are started when they are
    first needed and run until the end."""

    def __init__(
        self,
        drafter: EmulatedDrafter,
        cached: CachedDrafter,
        device: Device,
        predictor: RejectionPredictor,
        home: Path,
        stack: ExitStack,
    ) -> None:
        self._drafter, self._cached, self._device = drafter, cached, device
        self._predictor = predictor
        self._homes: Iterator[Path] = (home / str(number) for number in count())
        self._stack = stack
        self._lengths: dict[tuple[str, str], int] = {}
        self._verifiers: dict[tuple[str, ...], VerifierProcess] = {}
        scorer = OnnxScorer(STARTER_FOLDER)
        scorer.load()
        self._projection = projection_index(drafter.info, scorer.info)
        scorer.close()

    def run(
        self,
        setting: Setting,
        link: LinkConditions | None,
        system: LinkSystem,
        encoded: Sequence[EncodedClip],
        truths: Mapping[str, Truth],
    ) -> list[Measured]:
        """Return what was measured of each clip; ``link`` is ``None`` for the drafter alone."""
        self._device.pace = setting.pace
        if setting.load.has_slots:
            self._drafter.use_slots()
        else:
            self._drafter.hide_slots(setting.load.num_tokens)
        if link is None:
            with self._captioner(setting, system, None, "") as captioner:
                return [
                    self._caption(captioner, setting, one, truths, None, lambda: 0.0)
                    for one in encoded
                ]
        verifier = self._verifier(setting, system)
        port = verifier.announced.port if system.upload is None else verifier.announced.split_port
        with EmulatedLink(("127.0.0.1", port), _scaled(link, setting.time_scale)) as proxy:
            link_s = _cpu_clock_of("ugsd-emulated-link")
            if system.upload is not None:
                lengths = [self._num_drafted(one, setting) for one in encoded]
                return split_captions(
                    setting, system.upload, proxy.port, verifier, self._projection,
                    self._cached, self._drafter.slot_table, encoded, lengths,
                )  # fmt: skip
            key = verifier.announced.public_key
            with self._captioner(setting, system, proxy.url, key) as captioner:
                captioner.wait_until_connected(_PATIENT_S)
                if system.learns:
                    self._learn(captioner, setting, encoded)
                return [
                    self._caption(captioner, setting, one, truths, verifier, link_s)
                    for one in encoded
                ]

    def _verifier(self, setting: Setting, system: LinkSystem) -> VerifierProcess:
        pace = setting.verifier
        options = [
            f"--first-token-s={pace.first_token_s}",
            f"--step-s={pace.step_s}",
            f"--least-tokens={setting.load.num_tokens or 0}",
            f"--rank={system.rank}",
        ]
        if system.max_continuation is not None:
            options.append(f"--max-continuation={system.max_continuation}")
        if tuple(options) not in self._verifiers:
            started = self._stack.enter_context(VerifierProcess(*options))
            self._verifiers[tuple(options)] = started
        return self._verifiers[tuple(options)]

    @contextmanager
    def _captioner(
        self, setting: Setting, system: LinkSystem, url: str | None, key: str
    ) -> Iterator[Captioner]:
        assert system.system is not None  # noqa: S101
        how, scale = system.system, setting.time_scale
        with Captioner(
            self._cached,
            detector=WholeRecording(),
            meter=self._cached.meter,
            verifier=None if url is None else lambda: DeviceTransport(url, self._device),
            verifier_key=key or None,
            uncertainty=how.uncertainty or self._predictor,
            policy=None if how.policy is None else how.policy(),
            config=Settings(
                home=next(self._homes),
                limits=_NO_CAPS,
                verifier=VerifierSettings(
                    connect_timeout_s=_PATIENT_S,
                    deadline_s=_PATIENT_S,
                    caption_deadline_s=_PATIENT_S,
                    max_delay_s=system.max_delay_s,
                    min_saving_s=system.min_saving_s and system.min_saving_s / scale,
                ),
                threshold=system.threshold,
                min_enrolment=0,
                length=setting.load.length,
                block_unit=how.block_unit,
                block_tokens=system.block_tokens,
                adaptive_blocks=system.adaptive_blocks,
                continuation=how.continuation,
            ),
        ) as captioner:
            if system.drafts_on:
                yield captioner
            else:  # an answer that is always there leaves no time to draft
                with patch.object(Exchange, "has_answer", return_value=True):
                    yield captioner

    def _learn(
        self, captioner: Captioner, setting: Setting, encoded: Sequence[EncodedClip]
    ) -> None:
        """Let the captioner measure its times on short captions, which are not counted."""
        if not setting.load.has_slots:
            self._drafter.hide_slots(None)
        for one in islice(cycle(encoded), _LEARNING):
            captioner.caption(self._cached.placeholder_for(one.clip), self._cached.info.sample_rate)
        if not setting.load.has_slots:
            self._drafter.hide_slots(setting.load.num_tokens)

    def _caption(
        self,
        captioner: Captioner,
        setting: Setting,
        one: EncodedClip,
        truths: Mapping[str, Truth],
        verifier: VerifierProcess | None,
        link_cpu_s: Callable[[], float],
    ) -> Measured:
        device, scale = self._device, setting.time_scale
        placeholder = self._cached.placeholder_for(one.clip)
        before = None if verifier is None else verifier.usage()
        device.begin()
        link_before_s, cpu_before_s = link_cpu_s(), process_time()
        caption = captioner.caption(placeholder, self._cached.info.sample_rate)
        end_s = perf_counter()
        cpu_s = process_time() - cpu_before_s - (link_cpu_s() - link_before_s)
        has_asked = caption.usage.num_blocks > 0
        verifier_cpu_s = 0.0
        if verifier is not None and before is not None and has_asked:
            verifier_cpu_s = verifier.usage().since(before, scale)
        trace = device.trace
        besides_s = setting.pace.more_s(max(cpu_s - trace.paid_cpu_s, 0.0), 0)
        encoding_s = setting.pace.encoding_s(one.encoding_cpu_s)
        first_block = 1 if verifier is None else caption.decisions[0].num_tokens
        tokens = self._cached.last_tokens()
        emotion = emotion_of(self._drafter.slot_table, tokens)
        stated = stated_values(caption.attributes)
        if not setting.load.has_slots and emotion is not None:
            stated = {"emotion": emotion}  # the attributes of such a caption state nothing
        return Measured(
            encoding_s=encoding_s,
            decoding_s=scale * (end_s - trace.begun_s + besides_s),
            first_token_s=encoding_s
            + scale * (trace.first_token_s(first_block, end_s) - trace.begun_s),
            num_tokens=len(caption.tokens),
            is_emotion_right=emotion == one.clip.emotion,
            claims=tuple(checked_claims(stated, truths[one.clip.id]).values()),
            bytes_sent=caption.usage.bytes_sent,
            device_cpu_s=encoding_s + scale * (cpu_s + trace.slept_s + besides_s),
            verifier_cpu_s=verifier_cpu_s,
            has_asked=has_asked,
            num_blocks=caption.usage.num_blocks,
            failure=_failure(caption),
        )

    def _num_drafted(self, one: EncodedClip, setting: Setting) -> int:
        """Return the length of the drafter's own caption, without the end marker."""
        key = (setting.load.name, one.clip.id)
        if key in self._lengths:
            return self._lengths[key]
        pace, self._device.pace = self._device.pace, Slowdown(1)
        with Captioner(
            self._cached,
            detector=WholeRecording(),
            meter=self._cached.meter,
            config=Settings(length=setting.load.length),
        ) as captioner:
            rate = self._cached.info.sample_rate
            caption = captioner.caption(self._cached.placeholder_for(one.clip), rate)
        self._device.pace = pace
        return self._lengths.setdefault(key, len(caption.tokens))


def _scaled(link: LinkConditions, time_scale: float) -> LinkConditions:
    return LinkConditions(
        round_trip_s=link.round_trip_s / time_scale,
        jitter_s=link.jitter_s / time_scale,
        loss=link.loss,
        bytes_per_s=link.bytes_per_s * time_scale,
    )


def _cpu_clock_of(name: str) -> Callable[[], float]:
    """Return a function that returns the CPU seconds of the newest thread of that name."""
    idents = [thread.ident for thread in threading.enumerate() if thread.name == name]
    clock = time.pthread_getcpuclockid(idents[-1] or 0)
    return lambda: time.clock_gettime(clock)


def _failure(caption: Caption) -> str:
    """Return why something that was sent has no verdict."""
    reason = caption.unverified_reason
    kept = reason is None or reason.code is ReasonCode.ANSWER_TOO_LATE
    return "" if kept else str(reason)
