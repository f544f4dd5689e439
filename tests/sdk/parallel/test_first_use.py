"""The first use of the package, from eight threads at once, in a new process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle

CLIP = DrafterBundle.of(STARTER).folder / "clips" / "16a01Nc.opus"

IMPORTS = """
import sys
sys.setswitchinterval(1e-6)
from importlib import import_module
from tests.doubles.busy_threads import all_at_once
modules = {modules}
def names(module):
    found = import_module(module)
    return [getattr(found, name) for name in found.__all__]
print(len(all_at_once(*[lambda module=module: names(module) for module in modules])))
"""

CAPTIONS = """
import json, logging, sys
sys.setswitchinterval(1e-6)
from tests.doubles.busy_threads import all_at_once
from ugsd_sdk import Captioner
licences = []
class Count(logging.Handler):
    def emit(self, record):
        licences.append(record.getMessage())
logging.getLogger("ugsd_sdk.drafter.onnx").addHandler(Count())
logging.getLogger("ugsd_sdk.drafter.onnx").setLevel(logging.INFO)
captioner = Captioner()
captions = all_at_once(*[lambda: captioner.caption({clip!r})] * 8)
print(json.dumps([sorted({{one.text for one in captions}}), licences]))
"""


def run(script: str) -> str:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(filter(None, [str(root), *sys.path])), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("is_reversed", [False, True])
def test_modules_import_from_many_threads(*, is_reversed: bool) -> None:
    """Modules that import each other late must not meet half-imported in two threads."""
    modules = [
        "ugsd_sdk.captioner",
        "ugsd_sdk.pipeline",
        "ugsd_sdk.drafter.onnx",
        "ugsd_sdk.speech.voice_activity",
        "ugsd_sdk.connection.verifier_connection",
        "ugsd_sdk.connection.exchange",
        "ugsd_sdk.decoding.budget_pacing",
        "ugsd_sdk.home",
    ]
    assert run(IMPORTS.format(modules=modules[::-1] if is_reversed else modules)).strip() == "8"


def test_eight_first_callers_load_once() -> None:
    texts, licences = json.loads(run(CAPTIONS.format(clip=str(CLIP))))
    assert len(texts) == 1
    assert len(licences) == 1, "the licence is logged once"
