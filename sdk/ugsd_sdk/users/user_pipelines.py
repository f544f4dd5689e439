"""The pipelines of the users of one captioner, made as their captions come."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from threading import Condition, Lock

from ugsd_sdk.concurrency.background import BackgroundWork
from ugsd_sdk.pipeline import CaptionPipeline

__all__ = ["UserPipelines"]

_MOST_USERS = 1000
"""Users whose pipelines are kept although nobody captions with them, as long as their profiles are
stored elsewhere."""
_MOST_CONNECTED = 32
"""Users whose connections stay open although nobody captions with them."""
_FORGET_TIMEOUT_S = 2.5
_AT_ONCE = 8
"""Users who are looked at after each caption, so that its time does not grow with their number."""


class UserPipelines:
    """Makes and keeps the pipelines of users, each under the user's normal name.

    Any thread may use it. Of more users than ``most_connected`` the connections of those who have
    captioned nothing for longest are closed, and of more than ``most_users`` so are their
    pipelines, unless they hold a speaker profile that nothing stores.
    """

    def __init__(
        self,
        new: Callable[[str], CaptionPipeline],
        *,
        most_connected: int = _MOST_CONNECTED,
        most_users: int = _MOST_USERS,
    ) -> None:
        """``new`` makes the pipeline of a user, quickly and without connecting."""
        self._new = new
        self._most_connected = most_connected
        self._most_users = most_users
        self._condition = Condition()
        self._making = Lock()
        """Held while a pipeline is made."""
        self._pipelines: OrderedDict[str, CaptionPipeline] = OrderedDict()
        """The one that was used last comes last."""
        self._connected: OrderedDict[str, None] = OrderedDict()
        """Users whose connections may be open, in the same order."""
        self._num_captions: dict[CaptionPipeline, int] = {}
        """How many captions each pipeline has running."""

    def of(self, user: str) -> CaptionPipeline:
        """Return the pipeline of ``user``; the first time it starts connecting."""
        with self._condition:
            known = self._known(user)
        return self._made(user) if known is None else known

    def _known(self, user: str) -> CaptionPipeline | None:
        """Return the pipeline of ``user``, as the one that was used last, with the lock held."""
        if user not in self._pipelines:
            return None
        self._pipelines.move_to_end(user)
        self._connected[user] = None
        self._connected.move_to_end(user)
        return self._pipelines[user]

    def _made(self, user: str) -> CaptionPipeline:
        """Make the pipeline of ``user``. It may read files, and nobody who has one waits for it."""
        with self._making:
            with self._condition:
                known = self._known(user)
            if known is not None:
                return known
            pipeline = self._new(user)
            with self._condition:
                self._pipelines[user] = pipeline
                self._known(user)
        if pipeline.links is not None:
            pipeline.links.start_connecting()
        return pipeline

    @contextmanager
    def captioning(self, user: str) -> Iterator[CaptionPipeline]:
        """Yield the pipeline of ``user``, which stays open inside the block."""
        pipeline = self._taken(user)
        try:
            yield pipeline
        finally:
            with self._condition:
                self._num_captions[pipeline] -= 1
                if not self._num_captions[pipeline]:
                    del self._num_captions[pipeline]
                self._known(user)
                surplus = self._surplus()
                self._condition.notify_all()
            with ExitStack() as closing:
                for close in surplus:
                    closing.callback(close)

    def _taken(self, user: str) -> CaptionPipeline:
        while True:
            pipeline = self.of(user)
            with self._condition:
                if self._pipelines.get(user) is pipeline:  # it was not closed meanwhile
                    self._num_captions[pipeline] = self._num_captions.get(pipeline, 0) + 1
                    return pipeline

    def forget(self, user: str) -> None:
        """End the waits for the verifier of running captions of ``user``, and close the pipeline
        when they have ended; the next caption makes another one. Returns within three seconds:
        what takes longer continues on a background thread."""
        with self._condition:
            pipeline = self._pipelines.pop(user, None)
            self._connected.pop(user, None)
        if pipeline is None:
            return
        if pipeline.links is not None:
            pipeline.links.stop()
        forgotten = pipeline

        def close() -> None:
            self._wait_for_captions(forgotten)
            forgotten.close()

        BackgroundWork(close, "ugsd-forget").wait(_FORGET_TIMEOUT_S)

    def stop(self) -> None:
        """End all waits for the verifier, so that running captions end sooner."""
        with self._condition:
            links = [one.links for one in self._pipelines.values() if one.links is not None]
        for link in links:
            link.stop()

    def close(self) -> None:
        """Wait for the running captions, and close all pipelines."""
        self._wait_for_captions()
        with self._condition, ExitStack() as closing:
            while self._pipelines:
                closing.callback(self._pipelines.popitem()[1].close)

    def _wait_for_captions(self, pipeline: CaptionPipeline | None = None) -> None:
        """Wait for those of one pipeline, or of all."""
        with self._condition:
            self._condition.wait_for(
                lambda: (
                    not self._num_captions
                    if pipeline is None
                    else pipeline not in self._num_captions
                )
            )

    def _surplus(self) -> list[Callable[[], None]]:
        """Return what closes the surplus; pipelines are removed already."""
        closes: list[Callable[[], None]] = []
        for name in self._oldest_idle(self._connected, self._most_connected):
            del self._connected[name]
            links = self._pipelines[name].links if name in self._pipelines else None
            if links is not None:
                closes.append(links.disconnect)
        for name in self._oldest_idle(self._pipelines, self._most_users):
            if self._pipelines[name].is_disposable:
                closes.append(self._pipelines.pop(name).close)
            else:
                self._pipelines.move_to_end(name)  # so that it is not looked at each time
        return closes

    def _oldest_idle(self, users: Mapping[str, object], most: int) -> list[str]:
        """Return users beyond ``most`` without a running caption, a few at a time."""
        oldest = islice(users, min(max(len(users) - most, 0), _AT_ONCE))
        return [name for name in oldest if self._pipelines.get(name) not in self._num_captions]
