"""The pipelines of the users of one captioner, made as their captions come."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Condition

from ugsd_sdk.pipeline import CaptionPipeline

__all__ = ["UserPipelines"]

_MOST_USERS = 1000
"""Users whose pipelines are kept although nobody captions with them, as long as their profiles are
stored elsewhere."""
_MOST_CONNECTED = 32
"""Users whose connections stay open although nobody captions with them."""


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
        self._pipelines: OrderedDict[str, CaptionPipeline] = OrderedDict()
        """The one that was used last comes last."""
        self._num_captions: dict[str, int] = {}
        """How many captions each user has in the making."""

    def of(self, user: str) -> CaptionPipeline:
        """Return the pipeline of ``user``; the first time it starts connecting."""
        with self._condition:
            return self._found(user)

    def _found(self, user: str) -> CaptionPipeline:
        if user not in self._pipelines:
            pipeline = self._pipelines[user] = self._new(user)
            if pipeline.links is not None:
                pipeline.links.start_connecting()
        self._pipelines.move_to_end(user)
        return self._pipelines[user]

    @contextmanager
    def captioning(self, user: str) -> Iterator[CaptionPipeline]:
        """Yield the pipeline of ``user``, which stays open inside the block."""
        with self._condition:
            pipeline = self._found(user)
            self._num_captions[user] = self._num_captions.get(user, 0) + 1
        try:
            yield pipeline
        finally:
            with self._condition:
                self._num_captions[user] -= 1
                if not self._num_captions[user]:
                    del self._num_captions[user]
                if user in self._pipelines:
                    self._pipelines.move_to_end(user)
                surplus = self._surplus()
                self._condition.notify_all()
            with ExitStack() as closing:
                for close in surplus:
                    closing.callback(close)

    def forget(self, user: str) -> None:
        """Close the pipeline of ``user`` when its captions have ended; the next caption makes
        another one."""
        with self._condition:
            pipeline = self._pipelines.pop(user, None)
        if pipeline is not None:
            if pipeline.links is not None:
                pipeline.links.stop()
            self._wait_for_captions(user)
            pipeline.close()

    def stop(self) -> None:
        """End all waits for the verifier, so that captions in the making end sooner."""
        with self._condition:
            links = [one.links for one in self._pipelines.values() if one.links is not None]
        for link in links:
            link.stop()

    def close(self) -> None:
        """Wait for the captions in the making, and close all pipelines."""
        self._wait_for_captions()
        with self._condition, ExitStack() as closing:
            while self._pipelines:
                closing.callback(self._pipelines.popitem()[1].close)

    def _wait_for_captions(self, user: str | None = None) -> None:
        with self._condition:
            self._condition.wait_for(
                lambda: user not in self._num_captions if user else not self._num_captions
            )

    def _surplus(self) -> list[Callable[[], None]]:
        """Return what closes the surplus; pipelines are removed already."""
        idle = [name for name in self._pipelines if name not in self._num_captions]
        closes: list[Callable[[], None]] = []
        for name in idle[: max(len(self._pipelines) - self._most_users, 0)]:
            if self._pipelines[name].is_disposable:
                closes.append(self._pipelines.pop(name).close)
        links = [
            links
            for name in idle
            if name in self._pipelines
            and (links := self._pipelines[name].links) is not None
            and links.is_connected
        ]
        closes += [one.disconnect for one in links[: max(len(links) - self._most_connected, 0)]]
        return closes
