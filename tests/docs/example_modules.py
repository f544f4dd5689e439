"""Imports the examples, which belong to no package."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from tests.docs.documents import ROOT

__all__ = ["EXAMPLES", "example"]

EXAMPLES = ROOT / "examples"


def example(name: str) -> Any:
    """Return the module of ``examples/NAME.py``."""
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)  # dataclasses look it up there
    spec.loader.exec_module(module)
    return module
