"""A call that ends at any point harms neither ledger, log, profile nor the next caption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.audit.bodies import BodyReader
from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.egress import SealedFrame
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.ledger.journal import MAX_JOURNAL_ROWS
from ugsd_privacy.reasons import ReasonCode
from ugsd_sdk.caption import Caption
from ugsd_sdk.caption.options import CaptionOptions
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.events import Outcome
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import CallEnded, CaptionCancelled, CaptionTimeout
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.transport.memory import MemoryTransport

from tests.doubles.counted_call import CountedCall

Voice = NDArray[np.float32]
New = Callable[..., Captioner]
ERRORS = (CaptionCancelled, CaptionTimeout)


def ends_at_every_check(
    captioner: Captioner, clip: Any, error: Callable[[], CallEnded] = CaptionCancelled
) -> Iterator[int]:
    """End calls at their first, second, ... check, until one is not ended; yield after each."""
    rate = 16_000 if isinstance(clip, np.ndarray) else None
    for ends_at in range(1, 2000):
        call, ended = CountedCall(ends_at, error), None
        try:
            captioner._caption(call, clip, rate, None, CaptionOptions())
        except CallEnded as raised:
            ended = raised
        if ended is None:
            assert call.num_checks < ends_at
            return
        assert type(ended) is error
        assert call.num_checks == ends_at
        yield ends_at
    raise AssertionError("the caption looks at its call without end")


def essence(caption: Caption) -> tuple[object, ...]:
    """Return what a caption says, and what was sent for it."""
    return (
        caption.text,
        caption.tokens,
        caption.usage,
        caption.unverified_reason,
        caption.attributes,
    )


class Log:
    """What a home holds after all of its captioners were closed."""

    def __init__(self, home: Path, user: str = "default") -> None:
        owner = OwnerKey.load(home / "owner.key")
        with Ledger(home / "ledger", create=False) as ledger:
            self.summary = verify_log(ledger, LogKey.load(home / "log.key").public, owner=owner)
            with ledger.reading() as view:
                rows = list(view.rows())
                reader = BodyReader(view, owner)
                self.records = [reader.record(row) for row in rows]
                self.journal = view.journal(user, limit=MAX_JOURNAL_ROWS)
        self.blocks = [
            one for one in self.records if isinstance(one, EgressRecord) and one.charge.blocks
        ]

    def sent_blocks(self) -> list[int]:
        """Return how many blocks of each caption the log has, in ascending order."""
        return sorted(Counter(record.caption for record in self.blocks).values())

    def noted_blocks(self) -> list[int]:
        """Return how many blocks of each caption the journal says were sent."""
        sent = (row.caption for row in self.journal if row.outcome == Outcome.SENT)
        return sorted(Counter(sent).values())


@pytest.mark.parametrize("error", ERRORS)
def test_log_has_every_frame_of_ended_calls(
    new_captioner: New, fake: Any, voice: Voice, tmp_path: Path, error: Callable[[], CallEnded]
) -> None:
    captioner = new_captioner()
    captioner.wait_until_connected()
    num_ended = sum(1 for _ in ends_at_every_check(captioner, voice, error))
    captioner.close()
    log = Log(tmp_path / "home")
    frames = [len(frame) for frame in fake.frames]
    assert num_ended > 50
    assert [record.frame_bytes for record in log.records] == frames
    assert log.summary.total.blocks == len(fake.blocks) > num_ended
    assert log.summary.total.bytes == sum(frames)
    assert log.noted_blocks() == log.sent_blocks()


def test_journal_says_which_block_was_in_flight(
    new_captioner: New, voice: Voice, tmp_path: Path
) -> None:
    captioner = new_captioner()
    captioner.wait_until_connected()
    for error in ERRORS:
        for _ in ends_at_every_check(captioner, voice, error):
            pass
    captioner.close()
    unanswered = Counter(
        row.reason.failure.code
        for row in Log(tmp_path / "home").journal
        if row.outcome == Outcome.SENT and row.reason.failure is not None
    )
    assert unanswered.keys() == {ReasonCode.CALL_CANCELLED, ReasonCode.CALL_TIMEOUT}
    assert min(unanswered.values()) >= 5


def test_block_that_was_not_sealed_is_blocked(
    new_captioner: New, voice: Voice, tmp_path: Path
) -> None:
    captioner = new_captioner()
    captioner.wait_until_connected()
    list(ends_at_every_check(captioner, voice))
    captioner.close()
    blocked = {
        row.reason.code for row in Log(tmp_path / "home").journal if row.outcome == Outcome.BLOCKED
    }
    assert blocked == {ReasonCode.CALL_CANCELLED}


def test_next_caption_is_that_of_a_fresh_captioner(
    new_captioner: New, voice: Voice, tmp_path: Path
) -> None:
    with new_captioner(home=tmp_path / "other") as fresh:
        fresh.wait_until_connected()
        expected = essence(fresh.caption(voice, 16_000))
    captioner = new_captioner()
    captioner.wait_until_connected()
    for ends_at in ends_at_every_check(captioner, voice):
        assert essence(captioner.caption(voice, 16_000)) == expected, ends_at
    captioner.close()


def test_ended_calls_change_no_profile(new_captioner: New, voice: Voice) -> None:
    drafter = ScriptedDrafter(seed=3, vocabulary_size=400, profiles=True)
    with Captioner(drafter, user="ada") as captioner:
        profile = captioner.profile_of("ada")
        assert profile is not None
        for ends_at in ends_at_every_check(captioner, voice):
            assert profile.num_clips == 0, ends_at
        assert profile.num_clips == 1, "the last call was not ended"


@pytest.mark.parametrize("error", ERRORS)
def test_files_are_left_at_every_block(error: Callable[[], CallEnded], tmp_path: Path) -> None:
    """A time limit is an OSError, and those of a file are errors of its audio."""
    import soundfile

    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(34 * 16_000, np.float32), 16_000)
    with Captioner(ScriptedDrafter()) as captioner:
        assert sum(1 for _ in ends_at_every_check(captioner, path, error)) > 15


def test_constant_shape_marks_unsent_blocks(
    new_captioner: New, fake: Any, voice: Voice, tmp_path: Path
) -> None:
    """Its drafts are complete before the block is sent: until then nothing was in flight."""
    settings = Settings(traffic_shape="constant", disclosure="tokens")
    captioner = new_captioner(config=settings)
    captioner.wait_until_connected()
    list(ends_at_every_check(captioner, voice))
    captioner.close()
    log = Log(tmp_path / "home")
    assert log.noted_blocks() == log.sent_blocks()
    assert len(log.blocks) == len(fake.blocks)


class Withholding(MemoryTransport):
    """Withholds the answers to blocks until they are released."""

    def __init__(self, real: MemoryTransport) -> None:
        super().__init__(real._peer)
        self.withheld: list[bytes] | None = None

    def send(self, frame: SealedFrame) -> None:
        super().send(frame)
        if self.withheld is not None:
            self.withheld.append(self._answers.pop())

    def release(self) -> None:
        self._answers += self.withheld or []
        self.withheld = None


def test_late_answer_is_dropped_by_the_next_caption(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    transport = Withholding(fake.transport())
    with new_captioner(verifier=lambda: transport) as captioner:
        captioner.wait_until_connected()
        expected = essence(captioner.caption(voice, 16_000))
        transport.withheld = []
        with pytest.raises(CaptionCancelled):
            captioner._caption(
                EndedInFlight(transport.withheld), voice, 16_000, None, CaptionOptions()
            )
        assert len(transport.withheld) == 1
        transport.release()
        assert essence(captioner.caption(voice, 16_000)) == expected
    assert fake.connections == 1


class EndedInFlight(CountedCall):
    """Ends at the first check after a block was sent."""

    def __init__(self, sent: list[bytes]) -> None:
        super().__init__(None)
        self._sent = sent

    def check(self) -> None:
        if self._sent:
            self.cancel()
        super().check()
