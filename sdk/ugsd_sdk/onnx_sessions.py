"""How ONNX graphs run on the device: on the CPU, with a small footprint and no usage reports."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["onnx_session"]

_LOG_ERRORS = 3
_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"


def onnx_session(graph: bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Load ``graph`` for the CPU on ``threads`` threads. Raises what ONNX Runtime raises."""
    # Builds from 1.29 on report usage unless this is set before they are loaded; a host app may
    # bring one although our requirements do not.
    # Not set again: other threads may read the environment meanwhile, in C and without a lock.
    if os.environ.get(_NO_TELEMETRY) != "1":
        os.environ[_NO_TELEMETRY] = "1"
    import onnxruntime  # noqa: PLC0415  # heavy

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS
    # One clip at a time: a small footprint matters more than a few milliseconds.
    options.enable_cpu_mem_arena = False
    # Weights stored as int8 become float32 once, here, instead of in every run.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
