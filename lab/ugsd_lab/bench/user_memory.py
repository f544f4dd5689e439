"""The memory that one more user of a captioner takes: ``python -m ugsd_lab.bench.user_memory N``.

It prints one JSON list of ``[users, bytes in memory, threads, descriptors]``. Each user captions a
clip, on the device alone, or with ``--url`` and ``--key`` with a verifier that is asked about every
caption. Only a new process shows the memory of users, since an older one reuses what it has freed.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
import threading
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ugsd_privacy.output.terminal import print_json

from ugsd_lab.bench.measured_process import measured_environment
from ugsd_lab.bench.verifier_process import VerifierProcess
from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.tables import TextTable

if TYPE_CHECKING:
    from ugsd_sdk.captioner import Captioner

__all__ = ["UserMemory", "measure_user_memory", "tables"]

_GOAL_MB = 2.0
_WARM_UP_USERS = 4
"""Users before the first one that counts: until then memory grows for other reasons."""
_ALL_CONNECTED = 24
"""Of so many users no connection is closed because of the others."""
_TIMEOUT_S = 600


class _Sample(NamedTuple):
    users: int
    memory_bytes: int
    threads: int
    descriptors: int


@dataclass(frozen=True)
class UserMemory:
    """What one more user takes, fitted to a growing number of them by least squares."""

    captions: str
    """How they are made."""
    users: int
    memory_mb: float
    """Resident memory per further user, in 10^6 bytes."""
    threads: float
    descriptors: float

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "mark": self.mark}

    @property
    def mark(self) -> str:
        return "met" if self.memory_mb <= _GOAL_MB else "missed"


def measure_user_memory(users: int, progress: Progress) -> list[UserMemory]:
    """Measure users of the device alone, and users of a verifier on loopback, up to ``users``, at
    least 2."""
    found = [_fitted("on the device alone", _samples(users))]
    progress("memory of users", 1, 2, "")
    with VerifierProcess() as verifier:
        announced = verifier.announced
        url = f"ws://127.0.0.1:{announced.port}"
        samples = _samples(users, "--url", url, "--key", announced.public_key)
    found += [
        _fitted("verified on loopback, all connected", samples[: 1 + _ALL_CONNECTED]),
        _fitted("verified on loopback", samples),
    ]
    progress("memory of users", 2, 2, "")
    return found


def tables(found: Sequence[UserMemory]) -> list[TextTable]:
    """Return the table of what one more user takes."""
    rows = [
        (
            one.captions,
            str(one.users),
            f"{one.memory_mb:.2f}",
            f"<= {_GOAL_MB:g}",
            one.mark,
            f"{one.threads:.1f}",
            f"{one.descriptors:.1f}",
        )
        for one in found
    ]
    header = ("captions", "users", "MB", "goal", "", "threads", "descriptors")
    return [TextTable(header, rows, "One more user of a captioner", left=("captions", "goal", ""))]


def _samples(users: int, *options: str) -> list[_Sample]:
    done = subprocess.run(  # noqa: S603  # our own interpreter and code
        [sys.executable, "-m", "ugsd_lab.bench.user_memory", str(users), *options],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
        env=measured_environment(),
    )
    if done.returncode:
        raise EvaluationError("measuring the memory of users failed: read the messages above")
    return [_Sample(*row) for row in json.loads(done.stdout)]


def _fitted(captions: str, samples: Sequence[_Sample]) -> UserMemory:
    columns = np.array(samples, dtype=np.float64).T
    memory, threads, descriptors = (np.polyfit(columns[0], one, 1)[0] for one in columns[1:])
    return UserMemory(
        captions, samples[-1].users, float(memory) / 1e6, float(threads), float(descriptors)
    )


def _taken(users: int) -> _Sample:
    """Return what this process has now. Memory, in pages, is the second number of that file."""
    gc.collect()
    import resource  # Linux, as the rest

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return _Sample(
        users,
        pages * resource.getpagesize(),
        threading.active_count(),
        len(list(Path("/proc/self/fd").iterdir())),
    )


def _new_captioner(url: str | None, key: str | None, home: Path) -> Captioner:
    from ugsd_sdk.captioner import Captioner  # loads NumPy and more
    from ugsd_sdk.decoding.policy import AlwaysEscalate
    from ugsd_sdk.settings.config import Settings

    if url is None:
        return Captioner()
    settings = Settings(home=home, min_enrolment=0)
    return Captioner(verifier=url, verifier_key=key, config=settings, policy=AlwaysEscalate())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the samples."""
    parser = ArgumentParser()
    parser.add_argument("users", type=int)
    parser.add_argument("--url")
    parser.add_argument("--key")
    given = parser.parse_args(arguments)
    clips = [clip.path for clip in load_corpora(None) if clip.split == "test"]
    samples = []
    with (
        tempfile.TemporaryDirectory(prefix="ugsd-bench-") as home,
        _new_captioner(given.url, given.key, Path(home)) as captioner,
    ):
        for number in range(-_WARM_UP_USERS, given.users + 1):
            user = f"user{number}"
            captioner.wait_until_connected(user=user)
            caption = captioner.caption(clips[number % len(clips)], user=user)
            if given.url is not None and caption.unverified_reason is not None:
                raise EvaluationError(f"a caption was not verified: {caption.unverified_reason}")
            if number >= 0:
                samples.append(_taken(number))
    print_json(json.dumps(samples))


if __name__ == "__main__":
    main()
