"""A process forked from one with a loaded captioner: neither disturbs the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import Ledger
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.policy import (
    AlwaysEscalate,
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
)
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.settings.config import Settings, VerifierSettings

from tests.doubles.forked import in_child, with_all_threads
from tests.doubles.reasons import why_of
from tests.doubles.recording_proxy import BINARY, CLOSE, RecordingProxy, look_up

Voice = NDArray[np.float32]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def outcome_of(captioner: Captioner, voice: Voice) -> tuple[str | None, int]:
    caption = captioner.caption(voice, 16_000)
    assert len(caption.receipts) == caption.usage.num_frames
    return why_of(caption.unverified_reason), caption.usage.num_frames


@pytest.fixture
def proxy(run_server: Any, tmp_path: Path) -> Iterator[RecordingProxy]:
    ledger = tmp_path / "home" / "ledger" / "ledger.sqlite3"
    server = run_server(rank=400)
    with RecordingProxy(server.url, lambda payload: look_up(ledger, payload)) as proxy:
        proxy.key = server.public_key  # type: ignore[attr-defined]
        yield proxy


@pytest.fixture
def captioner(
    proxy: RecordingProxy, drafter: ScriptedDrafter, tmp_path: Path
) -> Iterator[Captioner]:
    waits = VerifierSettings(deadline_s=10, caption_deadline_s=20)
    with Captioner(
        drafter,
        verifier=proxy.url,
        verifier_key=proxy.key,  # type: ignore[attr-defined]
        home=tmp_path / "home",
        policy=AlwaysEscalate(),
        config=Settings(verifier=waits),
    ) as captioner:
        captioner.wait_until_connected(10)
        yield captioner


def test_parent_and_child_caption_and_log(
    captioner: Captioner, proxy: RecordingProxy, voice: Voice, tmp_path: Path
) -> None:
    assert outcome_of(captioner, voice) == (None, 5)

    def work() -> Any:
        captions = [outcome_of(captioner, voice) for _ in range(2)]
        captioner.close()
        return captions

    result = in_child(work)
    ours = [outcome_of(captioner, voice) for _ in range(2)]
    assert result() == [[None, 5]] * 2
    assert ours == [(None, 5)] * 2
    assert outcome_of(captioner, voice) == (None, 5), "the child closed nothing of the parent's"
    captioner.close()
    parent, child = proxy.finished()
    assert len(parent.of(BINARY)) == 1 + 4 * 5
    assert len(child.of(BINARY)) == 1 + 2 * 5
    assert [len(parent.of(CLOSE)), len(child.of(CLOSE))] == [1, 1]
    assert all(frame.record for side in (parent, child) for frame in side.of(BINARY))
    public = LogKey.load(tmp_path / "home" / "log.key").public
    with Ledger(tmp_path / "home" / "ledger") as ledger:
        assert verify_log(ledger, public).size == 2 + 6 * 5


def test_closing_in_a_child_keeps_parent_connected(
    captioner: Captioner, proxy: RecordingProxy, voice: Voice
) -> None:
    assert in_child(captioner.close)() is None
    assert outcome_of(captioner, voice) == (None, 5)
    assert len(proxy.conversations) == 1


def test_parents_locks_do_not_block_the_child(captioner: Captioner, voice: Voice) -> None:
    link = captioner._pipeline().links.first
    assert link is not None
    session = link._session
    assert session is not None
    connection = session.transport._connection  # type: ignore[attr-defined]
    with captioner._loading, link._lock, connection._changed:
        result = in_child(lambda: [outcome_of(captioner, voice), captioner.close()])
    started_s = time.monotonic()
    assert result() == [[None, 5], None]
    assert time.monotonic() - started_s < 5


def test_child_can_close_while_the_parent_captions(
    proxy: RecordingProxy, drafter: ScriptedDrafter, voice: Voice, tmp_path: Path
) -> None:
    within, go_on = threading.Event(), threading.Event()

    def slow(block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        within.set()
        go_on.wait(10)
        return AlwaysEscalate()(block, budget)

    with Captioner(
        drafter,
        verifier=proxy.url,
        verifier_key=proxy.key,  # type: ignore[attr-defined]
        home=tmp_path / "home",
        policy=slow,
    ) as captioner:
        captioner.wait_until_connected(10)
        reasons: list[str | None] = []
        captioning = threading.Thread(
            target=lambda: reasons.append(
                why_of(captioner.caption(voice, 16_000).unverified_reason)
            )
        )
        captioning.start()
        assert within.wait(10)
        assert in_child(captioner.close)() is None
        go_on.set()
        captioning.join()
    assert reasons == [None]


def test_fork_within_a_caption_sends_nothing_twice(
    proxy: RecordingProxy, drafter: ScriptedDrafter, voice: Voice, tmp_path: Path
) -> None:
    parent, children = os.getpid(), []

    def forking(block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        if block.start == 10 and os.getpid() == parent:
            reading, writing = os.pipe()
            if not os.fork():
                children.append(writing)
            else:
                os.close(writing)
                children.append(reading)
        return AlwaysEscalate()(block, budget)

    captioner = Captioner(
        drafter,
        verifier=proxy.url,
        verifier_key=proxy.key,  # type: ignore[attr-defined]
        home=tmp_path / "home",
        policy=forking,
    )
    captioner.wait_until_connected(10)
    try:
        caption = captioner.caption(voice, 16_000)
        if os.getpid() != parent:
            report = [why_of(caption.unverified_reason), caption.usage.num_frames, caption.text]
            os.write(children[0], json.dumps(report).encode())
    finally:
        if os.getpid() != parent:
            os._exit(0)
    with os.fdopen(children[0], "rb") as pipe:
        assert json.loads(pipe.read()) == ["verifier_unreachable", 2, caption.text]
    assert caption.unverified_reason is None
    captioner.close()
    (conversation,) = proxy.finished()
    assert len(conversation.of(BINARY)) == 1 + 5


SCRIPT = """
import json, os, sys, time
from ugsd_sdk import Captioner
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.decoding.policy import AlwaysEscalate

clip, home, report = sys.argv[1:]
patient = VerifierSettings(deadline_s=30, caption_deadline_s=60)  # the child starts a verifier
settings = Settings(home=home, keep_profile=False, min_enrolment=0, verifier=patient)
captioner = Captioner(verifier="embedded", policy=AlwaysEscalate(), config=settings)
captioner.wait_until_connected(60)
verifier = captioner._pipeline().links.first._endpoint._verifier._process

def caption():
    made = captioner.caption(clip)
    return [made.text, made.unverified_reason and made.unverified_reason.code]

def note(side, made):
    with open(report, "a") as lines:
        print(json.dumps([side, *made]), file=lines)

note("parent", caption())
child = os.fork()
if not child:
    note("child", caption())
    captioner.close()
    sys.exit()  # the interpreter ends as it does in a process of its own
assert os.waitpid(child, 0)[1] == 0
assert verifier.poll() is None, "the child has ended its parent's verifier"
note("parent", caption())
lingering = os.fork()
if not lingering:
    time.sleep(60)
    os._exit(0)
captioner.close()
assert verifier.poll() == 0, "a child kept the verifier's pipe open"
os.kill(lingering, 9)
os.waitpid(lingering, 0)
"""


@pytest.mark.slow
def test_starter_pair_survives_a_fork(tmp_path: Path) -> None:
    import ugsd_sdk

    clips = Path(ugsd_sdk.__file__).parent / "starter" / "clips"
    arguments = [str(next(clips.glob("*.opus"))), str(tmp_path / "home"), str(tmp_path / "report")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=with_all_threads(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()]
    assert [line[0] for line in lines] == ["parent", "child", "parent"]
    assert [line[2] for line in lines] == [None] * 3
    assert lines[0][1] == lines[1][1], "both are the first caption of their process"
