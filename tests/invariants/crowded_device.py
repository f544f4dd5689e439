"""An app that captions for two users of one home, and uses that home as apps do.

It reads tasks, JSON line by line: ``captions`` for each user, ``commands`` of ``ugsd`` to run in
this process meanwhile, and ``fork``: whether a child captions too. It answers each with the number
of frames sent and the reasons of the captions that stayed unverified.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main as command
from ugsd_sdk.decoding.policy import BlockView, BudgetView, Escalate
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.settings.config import Settings, VerifierSettings

from tests.doubles.speech import recorded_speech

USERS = ("ada", "bob")
VOICE = recorded_speech(0.5)


def always(block: BlockView, budget: BudgetView) -> Escalate:
    """Escalate every block, as token ids alone."""
    return Escalate(Disclosure.TOKENS)


def captioner(url: str, key: str, home: str, user: str) -> Captioner:
    """Return a captioner of one user; every token of its captions is sent in its own frame."""
    return Captioner(
        ScriptedDrafter(seed=3, vocabulary_size=400),
        verifier=url,
        verifier_key=key,
        home=home,
        user=user,
        policy=always,
        config=Settings(
            block_tokens=1,
            limits=BudgetLimits.without_caps(),
            verifier=VerifierSettings(deadline_s=10, caption_deadline_s=20),
        ),
    )


def work(captioners: list[Captioner], task: dict[str, Any]) -> dict[str, Any]:
    """Caption for all users at once, with commands in between and a child in parallel."""
    found: list[tuple[int, str | None]] = []

    def caption(one: Captioner) -> None:
        for _ in range(task["captions"]):
            made = one.caption(VOICE, 16_000)
            found.append(
                (made.usage.num_frames, made.unverified_reason and made.unverified_reason.code)
            )

    with ThreadPoolExecutor(len(captioners)) as pool:
        running = [pool.submit(caption, one) for one in captioners]
        for words in task["commands"]:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                command(words)
        child = os.fork() if task["fork"] else -1
        if not child:
            one = captioners[0]
            made = one.caption(VOICE, 16_000)
            os._exit(0 if made.unverified_reason is None and made.usage.num_frames else 1)
        if child > 0 and os.waitpid(child, 0)[1]:
            found.append((0, "the forked child did not caption"))
        for each in running:
            each.result()
    reasons = Counter(reason for _, reason in found if reason)
    return {"frames": sum(frames for frames, _ in found), "reasons": reasons}


def main() -> None:
    """Serve tasks until the input ends."""
    url, key, home = sys.argv[1:]
    captioners = [captioner(url, key, home, user) for user in USERS]
    for one in captioners:
        with contextlib.suppress(Exception):
            one.wait_until_connected(10)
    for line in sys.stdin:
        print(json.dumps(work(captioners, json.loads(line))), flush=True)
    for one in captioners:
        one.close()


if __name__ == "__main__":
    main()
