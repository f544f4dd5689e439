"""The example of a web service: users, budgets, visitors and errors."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle
from ugsd_sdk.errors import AudioTooLong, CaptionTimeout

from tests.docs.example_modules import EXAMPLES, example

upload_service = example("upload_service")
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


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        patch.setenv("UGSD_HOME", str(tmp_path_factory.mktemp("home")))
        with TestClient(upload_service.app) as client:
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


def test_visitor_has_a_profile_while_visiting(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitors = client.app_state["visitors"]
    client.cookies.clear()
    for num_clips in range(3):
        answer = upload(client, CLIPS[num_clips], {})
        assert answer.status_code == 200
        assert answer.json().get("profile", {}).get("num_clips", 0) == num_clips
    cookie = client.cookies["visit"]
    assert visitors.speaker(cookie).profile.num_clips == 3
    assert "HttpOnly" in answer.headers["set-cookie"]
    client.cookies.clear()
    answer = upload(client, CLIPS[0], {"Cookie": "visit=made-up"})
    assert client.cookies["visit"] not in {cookie, "made-up"}
    monkeypatch.setattr(upload_service, "VISIT_S", -1.0)
    assert visitors.speaker(cookie).profile.num_clips == 0


def test_visitors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_service, "MOST_VISITORS", 2)
    visitors = upload_service.Visitors()
    first, *_, last = (visitors.speaker(None) for _ in range(3))
    assert visitors.speaker(last.cookie).profile is last.profile
    assert visitors.speaker(first.cookie).profile is not first.profile


def test_unusable_uploads_are_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    noise = tmp_path / "noise.wav"
    noise.write_bytes(b"no audio" * 100)
    answer = upload(client, noise, ADA)
    assert (answer.status_code, answer.headers.get("set-cookie")) == (422, None)
    assert "audio" in answer.json()["detail"]
    assert upload(client, CLIPS[0], ADA, length="endless").status_code == 422
    assert client.post("/captions", headers=ADA).status_code == 422
    unknown = upload(client, CLIPS[0], {"Authorization": "Bearer guessed"})
    assert (unknown.status_code, unknown.headers["WWW-Authenticate"]) == (401, "Bearer")
    monkeypatch.setattr(upload_service, "MOST_BYTES", 1000)
    answer = upload(client, CLIPS[0], ADA)
    assert (answer.status_code, answer.json()["detail"]) == (413, "send at most 1000 bytes")


@pytest.mark.parametrize(
    ("error", "status"), [(CaptionTimeout(20.0), 504), (AudioTooLong("over 12 hours"), 413)]
)
def test_error_has_a_status(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Captioner, "acaption", fail)
    answer = upload(client, CLIPS[0], ADA)
    assert (answer.status_code, answer.json()["detail"]) == (status, str(error))


def test_time_limit_reaches_the_caption(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_service, "TIMEOUT_S", 1e-6)
    assert upload(client, CLIPS[0], ADA).status_code == 504


def test_closed_captioner_answers_503(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UGSD_HOME", str(tmp_path))
        with TestClient(upload_service.app) as client:
            client.app_state["captioner"].close()
            assert upload(client, CLIPS[0], {}).status_code == 503


def test_workers_share_budgets(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if "UGSD_" not in name}
    environment |= SETTINGS | {"UGSD_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    command = [
        *(sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "upload_service:app"),
        *("--workers", "2", "--port", str(port)),
    ]
    log = tmp_path / "log"
    url = f"http://127.0.0.1:{port}"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            started = "Application startup complete"
            wait_for(lambda: log.read_text().count(started) == 2)
            assert httpx2.get(f"{url}/healthz").json() == {"status": "ok"}

            def send(clip: Path) -> Any:  # a new connection each time, which either worker takes
                with httpx2.Client(base_url=url, timeout=60) as client:
                    return upload(client, clip, BEN)

            answers = [*map(send, CLIPS)]
            with ThreadPoolExecutor(4) as threads:
                answers += threads.map(send, CLIPS)
            blocks = [one.json().get("usage", {}).get("num_blocks", 0) for one in answers]
            assert all(one.status_code in {200, 429} for one in answers)
            assert sum(blocks) == 3  # Ben's cap, which both workers charge
            assert answers[-1].status_code == 429
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    assert log.read_text().count("Application shutdown complete") == 2
    assert "Traceback" not in log.read_text()


def wait_for(holds: Any) -> None:
    end_s = monotonic() + START_S
    while not holds():
        assert monotonic() < end_s
        sleep(0.05)
