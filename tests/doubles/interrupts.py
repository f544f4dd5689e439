"""Raises ``KeyboardInterrupt`` at each point where CPython may, one after another."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count, pairwise
from types import CodeType, FrameType, ModuleType
from typing import Any

__all__ = ["interrupts"]

_CHECKING = {"RESUME", "JUMP_BACKWARD", "CALL", "CALL_KW", "CALL_FUNCTION_EX"}
"""The bytecodes after which CPython looks for signals."""


def interrupts(work: Callable[[], object], *modules: ModuleType) -> Iterator[str]:
    """Call ``work`` again and again, each time with an interrupt at the next point within
    ``modules``; yield the point after each call. It ends when ``work`` has no more points."""
    files = {module.__file__ for module in modules}
    for number in count(1):
        point = _interrupted(work, files, number)
        if point is None:
            return
        yield point


def _interrupted(work: Callable[[], object], files: set[str | None], number: int) -> str | None:
    seen, point = 0, None

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal seen, point
        code = frame.f_code
        if code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in _points(code):
            seen += 1
            if seen == number:
                point = f"{code.co_qualname}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return point


@cache
def _points(code: CodeType) -> set[int]:
    """Return the offsets of the instructions before which signals are looked for."""
    instructions = list(dis.get_instructions(code))
    pairs = pairwise(instructions)
    return {after.offset for before, after in pairs if before.opname in _CHECKING}
