"""The example of a web service: users, budgets, visitors and errors."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from time import monotonic, sleep
from types import ModuleType
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle
from ugsd_sdk.errors import AudioTooLong, CaptionTimeout

from tests.docs.documents import ROOT

EXAMPLES = ROOT / "examples"
CLIPS = sorted((DrafterBundle.of(STARTER).folder / "clips").glob("16*.opus"))
ADA, BEN = ({"Authorization": f"Bearer {token}"} for token in ("token-of-ada", "token-of-ben"))
SETTINGS = {
    "SERVICE_TOKENS": "ada:token-of-ada,ben:token-of-ben",
    "UGSD_THRESHOLD": "0",
    "UGSD_DISCLOSURE": "tokens",
    "UGSD_LIMITS__BLOCKS_PER_DAY": "2",
    "UGSD_USERS__BEN__BLOCKS_PER_DAY": "3",
}
START_S = 60.0


def service() -> ModuleType:
    spec = spec_from_file_location("upload_service", EXAMPLES / "upload_service.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["upload_service"] = module  # its annotations are looked up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return service()


@pytest.fixture(scope="module")
def client(
    module: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        patch.setenv("UGSD_HOME", str(tmp_path_factory.mktemp("home")))
        with TestClient(module.app) as client:
            captioner = client.app_state["captioner"]
            for user in ("ada", "ben"):
                captioner.wait_until_connected(user=user)
            yield client


def upload(client: Any, clip: Path, headers: dict[str, str], **params: str) -> Any:
    files = {"clip": (clip.name, clip.read_bytes())}
    return client.post("/captions", files=files, headers=headers, params=params)


def test_two_users_upload_at_once(client: TestClient) -> None:
    jobs = [(clip, user) for clip in CLIPS[:5] for user in (ADA, BEN)]
    with ThreadPoolExecutor(len(jobs)) as threads:
        answers = list(threads.map(lambda job: upload(client, *job), jobs))
    ada, ben = answers[::2], answers[1::2]
    assert sorted(one.status_code for one in ada) == [200, 200, 429, 429, 429]
    assert sorted(one.status_code for one in ben) == [200, 200, 200, 429, 429]
    for one in [*ada, *ben]:
        assert one.json()["text"]
        if one.status_code == 429:
            assert one.headers["Retry-After"] == "86400"
            assert one.json()["unverified_reason"]["cap"] == "blocks_per_day"
        else:
            assert one.json()["usage"]["num_blocks"] == 1
