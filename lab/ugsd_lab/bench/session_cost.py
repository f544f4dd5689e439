"""Measures the CPU time of an end-to-end session: ``python -m ugsd_lab.bench.session_cost``.

CPU time of this process excludes waiting and other processes. It covers both sides, which run in
turn. Ratchet steps are also timed separately; a step includes setting up the frame's cipher.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import process_time

from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.output.terminal import print_line
from ugsd_privacy.protocol.channel import ClientChannel, ServerChannel, _Direction

_HANDSHAKES, _BATCHES, _FRAMES = 300, 9, 4000
_WELCOME_BYTES, _MESSAGE_BYTES = 120, 237
"""Sizes of a welcome, and of the longest message that fits into a frame of 256 bytes."""


def main() -> None:
    """Print the figures."""
    key = VerifierKey.generate()
    pinned = key.public

    def handshake() -> tuple[ClientChannel, ServerChannel]:
        device, verifier = ClientChannel(pinned), ServerChannel(key)
        answer = verifier.receive_hello(device.hello(), bytes(_WELCOME_BYTES))
        device.receive_hello(answer)
        return device, verifier

    def frame() -> Callable[[], object]:
        device, verifier = handshake()
        return lambda: verifier.open(device.seal(bytes(_MESSAGE_BYTES)))

    handshakes_s = sorted(_timed(handshake, 1) for _ in range(_HANDSHAKES))
    frame_s = median(_timed(frame(), _FRAMES) for _ in range(_BATCHES))
    step_s = median(_timed(_Direction(bytes(32))._next, _FRAMES) for _ in range(_BATCHES))
    print_line(
        f"handshake, both sides: p50 {median(handshakes_s) * 1e3:.2f} ms, "
        f"p95 {handshakes_s[int(0.95 * _HANDSHAKES)] * 1e3:.2f} ms (goal: 5 ms)",
        f"frame of 256 bytes, sealed and opened: {frame_s * 1e6:.1f} us, "
        f"of which two ratchet steps {2 * step_s * 1e6:.1f} us",
    )


def _timed(run: Callable[[], object], times: int) -> float:
    """Return the mean CPU time of a run, in seconds."""
    start_s = process_time()
    for _ in range(times):
        run()
    return (process_time() - start_s) / times


if __name__ == "__main__":
    main()
