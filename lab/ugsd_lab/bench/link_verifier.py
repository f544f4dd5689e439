"""A verifier process of ``ugsd-lab bench link``: ``python -m ugsd_lab.bench.link_verifier``.

It is the real server, in a process of its own, so that its CPU time can be counted. It may be as
slow as a larger model, by declaration: the model runs, and the thread sleeps for the rest of the
step. It prints one JSON line with its addresses, then one with its usage for each line that it
reads, and ends with its standard input.

It also answers the yardstick: split computing, where a device uploads what its audio encoder made
of the clip, and all tokens are decoded here. That is no mode of the product, whose wire has no such
message, and it does not use the wire: the request is a length, a number of tokens and a state.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import threading
from argparse import ArgumentParser
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.output.terminal import print_json
from ugsd_server.app import serve
from ugsd_server.settings import STARTER_FOLDER, Settings
from ugsd_server.verifier import Cache
from ugsd_server.verifier.acceptance import ContinuationRule, Rank, Typical
from ugsd_server.verifier.engine import Verifier
from ugsd_server.verifier.onnx import OnnxScorer

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SPLIT_HEADER", "Announcement", "PacedScorer", "Usage", "main", "read_exactly"]

SPLIT_HEADER = struct.Struct("!IHHH")
"""Bytes of the features that follow the state, tokens to decode, projection, numbers of the
state."""
_PATIENT_S = 3600.0
"""A busy machine shall not end a session."""
_NEVER = np.float32(-1e9)


@dataclass(frozen=True)
class Announcement:
    """Where the process listens."""

    port: int
    public_key: str
    split_port: int


@dataclass(frozen=True)
class Usage:
    """What the process has used so far."""

    cpu_s: float
    slept_s: float
    """Slept instead of computing slowly."""

    def since(self, before: Usage, time_scale: float) -> float:
        """Return the seconds that were used since ``before``, with what was slept scaled."""
        return self.cpu_s - before.cpu_s + time_scale * (self.slept_s - before.slept_s)


class PacedScorer(OnnxScorer):
    """A scorer with the step times of a larger model, which ends no caption early."""

    def __init__(
        self, folder: Path, *, first_token_s: float, step_s: float, least_tokens: int
    ) -> None:
        """``first_token_s`` is the time of a caption's first pass, ``step_s`` that of each later
        one; 0 for that of the model. A caption has ``least_tokens`` tokens at least, and those of
        0 end where the model ends them."""
        super().__init__(folder)
        self.slept_s = 0.0
        self._first_token_s, self._step_s = first_token_s, step_s
        self._least_tokens = least_tokens

    def extend(
        self,
        cache: Cache,
        tokens: NDArray[np.int64],
        states: NDArray[np.float32],
        has_state: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        started_s, before = perf_counter(), cache.length
        logits = super().extend(cache, tokens, states, has_state)
        if self._least_tokens:
            logits = self._without_early_end(logits, before)
        lasts_s = self._step_s if before else self._first_token_s
        missing_s = lasts_s - (perf_counter() - started_s)
        if missing_s > 0:
            sleep(missing_s)
            self.slept_s += missing_s
        return logits

    def _without_early_end(self, logits: NDArray[np.float32], before: int) -> NDArray[np.float32]:
        """Row t predicts position ``before`` + t: the end marker only as the last of the tokens."""
        logits, eos, last = logits.copy(), self.info.eos, self._least_tokens - 1
        for position, row in enumerate(logits, before):
            if position < last:
                row[eos] = _NEVER
            elif position == last:
                row[:] = _NEVER
                row[eos] = 0
        return logits

    def decode(self, state: NDArray[np.float32], projection: int, count: int) -> list[int]:
        """Return ``count`` tokens, decoded greedily from a ``state``, one pass each."""
        info, cache = self.info, self.new_cache()
        states = np.zeros((1, info.input_dim), dtype=np.float32)
        states[0, projection * info.state_dim : (projection + 1) * info.state_dim] = state
        token = info.bos
        tokens: list[int] = []
        for _ in range(count):
            has_state = np.array([not tokens], dtype=np.float32)
            row = self.extend(cache, np.array([token]), states * has_state, has_state)[0]
            if len(tokens) < count - 1:  # a caption of this length has no earlier end
                row[info.eos] = _NEVER
            token = int(row.argmax())
            tokens.append(token)
        return tokens


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input ends."""
    parser = ArgumentParser()
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--max-continuation", type=int, default=96)
    parser.add_argument("--first-token-s", type=float, default=0.0)
    parser.add_argument("--step-s", type=float, default=0.0)
    parser.add_argument("--least-tokens", type=int, default=0)
    given = parser.parse_args(arguments)
    scorer = PacedScorer(
        STARTER_FOLDER,
        first_token_s=given.first_token_s,
        step_s=given.step_s,
        least_tokens=given.least_tokens,
    )
    verifier = Verifier(
        scorer,
        acceptance=Rank(given.rank) if given.rank else Typical(),
        continuation=ContinuationRule(given.max_continuation),
    )
    asyncio.run(_serve(scorer, verifier))


async def _serve(scorer: PacedScorer, verifier: Verifier) -> None:
    loop, stop, key = asyncio.get_running_loop(), asyncio.Event(), VerifierKey.generate()
    settings = Settings(
        port=0,
        key_file=Path("not-used"),
        handshake_timeout_s=_PATIENT_S,
        idle_timeout_s=_PATIENT_S,
        ping_interval_s=_PATIENT_S,
    )
    async with await serve(settings, key=key, verifier=verifier) as server:
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=_answer_splits, args=(listener, scorer), daemon=True).start()
        port = int(listener.getsockname()[1])
        _print(asdict(Announcement(server.port, key.public.to_text(), port)))

        def report() -> None:
            for _ in sys.stdin:
                _print(asdict(Usage(process_time(), scorer.slept_s)))
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=report, daemon=True).start()
        await stop.wait()


def _print(document: dict[str, object]) -> None:
    print_json(json.dumps(document))
    sys.stdout.flush()


def _answer_splits(listener: socket.socket, scorer: PacedScorer) -> None:
    while True:
        device, _ = listener.accept()
        with suppress(ConnectionError), device:
            device.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while header := read_exactly(device, SPLIT_HEADER.size):
                num_bytes, count, projection, dim = SPLIT_HEADER.unpack(header)
                state = np.frombuffer(read_exactly(device, 4 * dim), dtype="<f4")
                read_exactly(device, num_bytes)
                tokens = scorer.decode(state, projection, count)
                device.sendall(np.array(tokens, dtype="<u2").tobytes())


def read_exactly(source: socket.socket, count: int) -> bytes:
    """Return ``count`` bytes; nothing if the connection ended before."""
    data = bytearray()
    while len(data) < count:
        part = source.recv(count - len(data))
        if not part:
            return b""
        data += part
    return bytes(data)


if __name__ == "__main__":
    main()
