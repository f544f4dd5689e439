"""The captioner, which turns clips of many users into captions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, Unpack

from ugsd_privacy.forks import call_in_children, forks_wait, keep_for_good
from ugsd_privacy.user_names import normal_user

from ugsd_sdk.arguments import path_text, require_callable
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.audio.samples import Clip
from ugsd_sdk.calls.call import Call, checked_seconds
from ugsd_sdk.calls.events import CallEvent
from ugsd_sdk.caption import Caption
from ugsd_sdk.caption.options import CaptionOptions, UtteranceCaptioner
from ugsd_sdk.captioner_calls import CaptionerCalls, finished_event
from ugsd_sdk.captioner_keywords import (
    check_keywords,
    check_user,
    explicit_keywords,
)
from ugsd_sdk.concurrency.background import BackgroundWork
from ugsd_sdk.decoding.policy import Policy
from ugsd_sdk.decoding.uncertainty import Uncertainty
from ugsd_sdk.drafter import Drafter
from ugsd_sdk.drafter.bundle import STARTER
from ugsd_sdk.errors import CaptionerClosed, WrongType
from ugsd_sdk.pipeline import CaptionPipeline
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.speech.reader import Meter, SpeechDetector
from ugsd_sdk.speech.spans import SAMPLE_RATE
from ugsd_sdk.users.loaded_captioner import LoadedCaptioner
from ugsd_sdk.users.models import Models

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ugsd_sdk.connection.endpoints import EmbeddedEndpoint, PinnedEndpoint
    from ugsd_sdk.streams.caption_stream import AsyncCaptionStream, CaptionStream
    from ugsd_sdk.streams.sources import StreamSource
    from ugsd_sdk.streams.utterance_captions import StreamKeywords, UtteranceCaptions
    from ugsd_sdk.timelines.recorder import Channels, ProgressCallback
    from ugsd_sdk.timelines.timeline import Timeline
    from ugsd_sdk.transport import Transport

__all__ = ["Captioner"]

_CLOSE_TIMEOUT_S = 2.5
_FINISHING_S = 1.5
"""How long captions may go on while the captioner closes."""


class Captioner(CaptionerCalls):
    """Captions how voices sound, on this device, and asks a verifier, if one is set.

    ``drafter`` is ``"starter"``, ``"free"``, a folder, or a :class:`Drafter`. ``verifier`` is
    ``None``, a ``ws://`` or ``wss://`` address, ``"embedded"``, or a function that returns a
    :class:`Transport`. Without a verifier, neither the network nor ``home`` is used. Its identity
    is ``verifier_root``, the root that signed the file ``verifier_manifest``; for a verifier on
    this machine or behind the caller's transport it may be ``verifier_key`` instead.

    ``config`` is a :class:`Settings`, or a TOML file, which is read with the environment; arguments
    override it. Without it only arguments count. ``uncertainty`` and ``policy`` replace those of
    the drafter and the settings; ``detector`` replaces the voice activity detector, and ``meter``
    makes what measures the prosody of a recording.

    A recording without a voice gets the text "No speech.": nothing is sent, and the speaker profile
    stays as it is.

    One captioner serves all users of a process, who share its models. ``user`` is the one of
    captions that name none. A named user has a budget, settings
    (:meth:`~ugsd_sdk.Settings.for_user`), a connection to the verifier, and a speaker profile,
    which their clips update; after a few clips states of them may be sent. Without a name, and
    without a profile passed to :meth:`caption`, no caption depends on an earlier one, nothing of a
    voice is kept, and by default (``min_enrolment``) no state is sent.
    :class:`~ugsd_sdk.ProfileUse` says what happens to a clip that does not fit.

    The constructor does no work; :meth:`load` or the first caption does. Threads may share a
    captioner, and their captions are made side by side. Captions that may change the same profile
    are made one after another, so that each sees all earlier ones. A caption waits at most
    ``verifier.caption_deadline_s`` for the verifier and for other processes.

    ``on_event`` is called with what happens to each call, of the types in
    :mod:`ugsd_sdk.calls.events`, which hold no content: on the thread that makes the caption, and
    so on several threads at once. It should return soon, and not call the captioner. What it raises
    is logged once.

    After :meth:`close` every method raises :class:`CaptionerClosed`. After a fork the child's copy
    shares nothing with the parent's captioner: it loads and connects again with its first caption,
    and closing it does not affect the parent.
    """

    def __init__(
        self,
        drafter: str | os.PathLike[str] | Drafter = STARTER,
        *,
        verifier: str | Callable[[], Transport] | None = None,
        verifier_root: str | os.PathLike[str] | None = None,
        verifier_manifest: str | os.PathLike[str] | None = None,
        verifier_key: str | os.PathLike[str] | None = None,
        user: str | None = None,
        home: str | os.PathLike[str] | None = None,
        config: Settings | str | os.PathLike[str] | None = None,
        uncertainty: Uncertainty | None = None,
        policy: Policy | None = None,
        detector: SpeechDetector | None = None,
        meter: Callable[[], Meter] | None = None,
        on_event: Callable[[CallEvent], object] | None = None,
    ) -> None:
        super().__init__(on_event)
        require_callable("meter", meter)
        if not (verifier is None or isinstance(verifier, str) or callable(verifier)):
            raise WrongType(
                "verifier must be text, or a function that returns a transport, not "
                f"{type(verifier).__name__}"
            )
        self._given_verifier = verifier
        self._verifier_root = path_text("verifier_root", verifier_root)
        manifest = path_text("verifier_manifest", verifier_manifest)
        self._verifier_manifest = None if manifest is None else Path(manifest)
        self._verifier_key = path_text("verifier_key", verifier_key)
        self._arguments = {"user": user, "home": home}
        self._config = config
        self._new_models = partial(
            Models, drafter, uncertainty=uncertainty, policy=policy, detector=detector, meter=meter
        )
        self._loading = Lock()
        self._loaded: LoadedCaptioner | None = None
        self._has_captioned = False
        """Whether a caption was made: the first one imports modules, for which forks wait."""
        call_in_children(self._forget_in_child)

    def __enter__(self) -> Self:
        self.load()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise WrongType(
            "a captioner holds models and connections, which cannot be pickled: create a captioner "
            "in each process, for example from Settings, which can"
        )

    def load(self) -> None:
        """Read settings and weights, and start connecting in the background.

        Raises :class:`ModelError` or :class:`ConfigError`, but nothing for a verifier that cannot
        be reached. May be called again.
        """
        self._load()

    def prewarm(self) -> None:
        """Do what only the first caption would do otherwise: load, start connecting, and run each
        model for the first time. Makes no caption and sends no block. Raises as :meth:`load`."""
        with self._calls.running(Call()):
            self._load().prewarm()

    def wait_until_connected(self, timeout_s: float = 30.0, *, user: str | None = None) -> None:
        """Wait until the verifier is connected for ``user``; retry at once after a failure.

        Takes at most ``timeout_s`` beyond loading the weights. Raises a :class:`TransportError`, or
        a ``PrivacyError`` of ``ugsd_privacy`` if budget or ledger forbid connecting; captions can
        be made anyway. Returns at once without a verifier.
        """
        timeout_s = checked_seconds(timeout_s)
        links = self._pipeline(user).links
        if links is not None:
            links.wait_until_connected(max(timeout_s, 0))

    def profile_of(self, user: str | None = None) -> Profile | None:
        """Return the speaker profile of ``user``, which every caption updates; ``None`` for a user
        who is not named. With a verifier it is stored in ``home``; otherwise it lasts until
        :meth:`close`. Loads the captioner, and raises as :meth:`load` does."""
        return self._pipeline(user).user_profile

    def forget_user(self, user: str) -> None:
        """Close the connections of ``user``, and forget a profile that is not stored in ``home``.
        Running captions end without the verifier. The user's next caption begins again. Returns
        within three seconds."""
        self._calls.require_open()
        loaded = self._loaded
        if loaded is not None:
            loaded.pipelines.forget(normal_user(user))

    @explicit_keywords
    def caption(
        self,
        clip: Clip,
        sample_rate: float | None = None,
        *,
        user: str | None = None,
        profile: Profile | None = None,
        length: CaptionLength | str | None = None,
        seed: int | None = None,
        timeout_s: float | None = None,
    ) -> Caption:
        """Caption a path, an open file, the bytes of an encoded file, or samples: an array, list or
        tensor (n,), (n, channels) or (channels, n).

        ``sample_rate`` in Hz is required for an array. ``user`` names whose voice it is, and whose
        budget is charged, instead of the captioner's user. ``profile`` is the speaker's, instead of
        that of the user. ``length``, one of ``"short"``, ``"normal"`` and ``"rich"``, and ``seed``,
        from which the wording is drawn, replace those of the settings.

        ``timeout_s`` is a time limit in seconds. Near it the verifier is no longer waited for, and
        where that is not enough, the call raises :class:`CaptionTimeout`.

        Raises :class:`AudioError` for an unusable clip, :class:`ModelError`, :class:`ConfigError`,
        or a :class:`CallEnded`: :class:`CaptionTimeout`, or :class:`CaptionerClosed`. It raises no
        error of the network.
        """
        options = CaptionOptions.checked(profile, length, seed)
        return self._caption(self._new_call(timeout_s), clip, sample_rate, user, options)

    def _caption(
        self,
        call: Call,
        clip: Clip,
        sample_rate: float | None,
        user: str | None,
        options: CaptionOptions,
    ) -> Caption:
        with (
            nullcontext() if self._has_captioned else forks_wait(),
            self._calls.running(call),
            self._captioning(user) as (pipeline, load_s),
        ):
            caption = pipeline.caption(clip, sample_rate, options, call, load_s=load_s)
            self._has_captioned = True
            call.notify(finished_event(caption))
            return caption

    def stream(
        self,
        source: StreamSource,
        sample_rate: float | None = None,
        **keywords: Unpack[StreamKeywords],
    ) -> CaptionStream:
        """Caption the utterances of a stream as they come: iterate over its events.

        ``source`` is a path, an open pipe of int16 samples, an iterator of chunks, or a
        :class:`Microphone`; ``sample_rate`` in Hz goes with samples. ``user``, ``profile``,
        ``length`` and ``seed`` are those of :meth:`caption`. ``drafts`` are made about every second
        while someone speaks, unless that is false. An utterance ends with a pause of
        ``end_pause_s``, and one that lasts ``max_segment_s`` is cut.

        Raises :class:`ConfigError` for wrong arguments. See :class:`CaptionStream` for the rest.
        """
        from ugsd_sdk.streams.caption_stream import CaptionStream  # noqa: PLC0415  # heavy

        stream = CaptionStream(source, sample_rate, self._utterance_captions(keywords))
        self._streams.add(stream)
        return stream

    def astream(
        self,
        source: StreamSource,
        sample_rate: float | None = None,
        **keywords: Unpack[StreamKeywords],
    ) -> AsyncCaptionStream:
        """Caption a stream as :meth:`stream` does, for ``async for``. The source may be an
        asynchronous iterator of chunks as well. Cancelling the task ends the stream."""
        from ugsd_sdk.streams.caption_stream import AsyncCaptionStream  # noqa: PLC0415  # heavy

        captions = self._utterance_captions(keywords)
        stream = AsyncCaptionStream(source, sample_rate, captions, self._threads)
        self._streams.add(stream)
        return stream

    def _utterance_captions(self, keywords: StreamKeywords) -> Callable[[], UtteranceCaptions]:
        from ugsd_sdk.streams import utterance_captions as streams  # noqa: PLC0415  # heavy

        self._calls.require_open()
        check_keywords(keywords, streams.StreamKeywords.__annotations__)
        check_user(keywords.get("user"))
        options, streaming = streams.checked(keywords)
        caption = self._utterance_captioner(keywords.get("user"), options)
        return lambda: streams.UtteranceCaptions(
            self._load().models.detector, caption, streaming, new_call=lambda: self._new_call(None)
        )

    @explicit_keywords
    def timeline(
        self,
        recording: Clip,
        sample_rate: float | None = None,
        *,
        channels: Channels = "apart",
        user: str | None = None,
        profile: Profile | Mapping[str, Profile] | None = None,
        length: CaptionLength | str | None = None,
        seed: int | None = None,
        timeout_s: float | None = None,
        on_progress: ProgressCallback | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Timeline:
        """Return the timeline of a recording of up to 12 h: a caption for each utterance, and how
        they change.

        ``channels`` is ``"apart"``, one speaker for each channel, ``"together"``, or the channels'
        names, such as ``("agent", "customer")`` for left and right. Each channel that is read apart
        has a speaker profile of its own, which lasts as long as the timeline is made, or that which
        ``profile`` has for its label. A recording of one channel has ``profile``, or that of the
        user, as :meth:`caption` does. States of a channel are sent only because of a profile that
        you give, or of a user who is named for one channel: a profile that the channel has by
        itself lets captions compare, and permits no state (``min_enrolment = 0`` permits all).

        ``checkpoint`` is a file from which the timeline is continued if it was interrupted.
        ``on_progress`` gets the seconds that are done and all seconds. ``timeout_s`` limits the
        whole timeline. The other arguments are those of :meth:`caption`.

        Raises as :meth:`caption` does, and :class:`CheckpointError`.
        """
        return self._timeline(
            self._new_call(timeout_s), recording, sample_rate, channels=channels, user=user,
            profile=profile, length=length, seed=seed, on_progress=on_progress,
            checkpoint=checkpoint,
        )  # fmt: skip

    def _timeline(
        self,
        call: Call,
        recording: Clip,
        sample_rate: float | None,
        *,
        user: str | None = None,
        length: CaptionLength | str | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Timeline:
        from ugsd_sdk.speech.segmenter import window_detector  # noqa: PLC0415  # heavy
        from ugsd_sdk.timelines.recorder import TimelineMaker  # noqa: PLC0415  # heavy
        from ugsd_sdk.timelines.settings_identity import settings_identity  # noqa: PLC0415

        require_callable("on_progress", options.get("on_progress"))
        options["checkpoint"] = path_text("checkpoint", options.get("checkpoint"))
        shared = CaptionOptions.checked(None, length, seed)
        with self._calls.including(call):
            pipeline = self._pipeline(user)
            info = pipeline.drafter.info
            maker = TimelineMaker(
                lambda profile, recording_id: self._utterance_captioner(
                    user, replace(shared, profile=profile, recording=recording_id)
                ),
                window_detector(pipeline.detector),
                user_profile=pipeline.user_profile,
                encoder=info.profile_encoder,
                settings=settings_identity(pipeline.settings, info, length, seed),
            )
            return maker.timeline(recording, sample_rate, call=call, **options)

    def _utterance_captioner(self, user: str | None, options: CaptionOptions) -> UtteranceCaptioner:
        """Return what captions the utterances of a stream or recording of ``user``, as ``options``
        says: mono samples (n,) at 16 kHz."""

        def caption(
            samples: NDArray[np.float32], *, is_draft: bool = False, call: Call | None = None
        ) -> Caption:
            one = replace(options, is_draft=is_draft)
            return self._caption(call or self._new_call(None), samples, SAMPLE_RATE, user, one)

        return caption

    def close(self) -> None:
        """Free the model, close the connections and end the embedded verifier. May be repeated.

        Returns within three seconds. Open streams raise :class:`CaptionerClosed`. Captions of other
        threads stop waiting for the verifier, and
        have half of that to finish without it; then they raise :class:`CaptionerClosed`. What does
        not look whether its call has ended, such as an application's drafter, continues on a
        background thread.
        """
        self._calls.refuse()
        for stream in list(self._streams):
            stream.end(CaptionerClosed())
        if self._loaded is not None or self._loading.locked():
            BackgroundWork(self._close, "ugsd-close").wait(_CLOSE_TIMEOUT_S)

    def _close(self) -> None:
        loaded = self._loaded
        if loaded is not None:
            loaded.pipelines.stop()
        if not self._calls.wait(_FINISHING_S):
            self._calls.end_all()
        with self._loading:
            loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.close()

    def _forget_in_child(self) -> None:
        """Drop the parent's objects; freeing or closing them here could affect the parent."""
        self._loading = Lock()  # a thread of the parent may have held the other one
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            keep_for_good(loaded)

    @contextmanager
    def _captioning(self, user: str | None) -> Iterator[tuple[CaptionPipeline, float]]:
        """Yield the pipeline of ``user``, which stays open inside the block, and how long loading
        took if nobody has reported it yet."""
        loaded = self._load()
        with loaded.pipelines.captioning(self._name(loaded, user)) as pipeline:
            yield pipeline, loaded.take_load_s()

    def _pipeline(self, user: str | None = None) -> CaptionPipeline:
        loaded = self._load()
        return loaded.pipelines.of(self._name(loaded, user))

    def _name(self, loaded: LoadedCaptioner, user: str | None) -> str:
        return loaded.settings.user if user is None else normal_user(user)

    def _load(self) -> LoadedCaptioner:
        self._calls.require_open()
        loaded = self._loaded
        if loaded is None:
            with self._loading:
                self._calls.require_open()
                loaded = self._loaded or self._new_loaded()
                self._loaded = loaded
        return loaded

    def _new_loaded(self) -> LoadedCaptioner:
        started_s = monotonic()
        settings = self._settings()
        endpoint = self._endpoint(settings)  # reports a wrong address or key before loading
        models = self._new_models()
        models.load()
        with ExitStack() as closing:
            closing.callback(models.close)
            loaded = LoadedCaptioner(settings, models, endpoint)
            loaded.pipelines.of(settings.user)  # reports settings that the drafter does not allow
            closing.pop_all()
        loaded.load_s = monotonic() - started_s
        return loaded

    def _settings(self) -> Settings:
        given = {name: value for name, value in self._arguments.items() if value is not None}
        if isinstance(self._config, Settings):
            return Settings(**{**dict(self._config), **given})
        return Settings(**given) if self._config is None else Settings.load(self._config, **given)

    def _endpoint(self, settings: Settings) -> PinnedEndpoint | EmbeddedEndpoint | None:
        verifier = (
            self._given_verifier if self._given_verifier is not None else settings.verifier.url
        )
        identified = settings.verifier.with_identity(
            key=self._verifier_key, root=self._verifier_root, manifest=self._verifier_manifest
        )
        if verifier is None:
            return None
        from ugsd_sdk.connection.endpoints import endpoint_of  # noqa: PLC0415  # heavy
        from ugsd_sdk.home import Home  # noqa: PLC0415  # heavy

        return endpoint_of(verifier, identified, Home.from_path(settings.home))
