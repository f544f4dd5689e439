"""A web service that captions uploaded recordings, with a budget for each user.

    pip install fastapi python-multipart uvicorn
    export SERVICE_TOKENS="ada:3fe1c2,ben:9b04d7"
    uvicorn --app-dir examples upload_service:app --workers 2
    curl -H "Authorization: Bearer 3fe1c2" -F clip=@recording.wav http://127.0.0.1:8000/captions

The answer is the caption as JSON, and begins for a bundled clip::

    {"text":"There is great cheerfulness in the voice; the speaker talks in a medium-pitched voice,
    with the emphasis near the end.","length":"normal","seed":0,"attributes":{"emotion":{"value":
    "happy","confidence":0.822,

If a budget kept it from being verified, its status is 429, and it is what the device alone made of
the recording.

People without a token are visitors. A cookie names their speaker profile, which ends with their
visit and is held by one worker: with several, let a proxy send a visitor to the same one each time.
Each worker has a captioner; budgets are counted in the home folder (``UGSD_HOME``), which all
workers of a machine share.
"""

from __future__ import annotations

import os
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Annotated, TypedDict

from fastapi import Cookie, Depends, FastAPI, HTTPException, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ugsd_sdk import (
    AudioError,
    Caption,
    Captioner,
    CaptionerClosed,
    CaptionLength,
    CaptionTimeout,
    Profile,
    ReasonCode,
)
from ugsd_sdk.errors import AudioTooLong

SETTINGS = Path(__file__).with_suffix(".toml")
MOST_BYTES = 25_000_000
TIMEOUT_S = 20.0
VISIT_S = 30 * 60
MOST_VISITORS = 10_000
STATUS_OF_ERROR = {AudioTooLong: 413, AudioError: 422, CaptionerClosed: 503, CaptionTimeout: 504}
SECONDS_UNTIL_RETRY = {"hour": 3600, "day": 86_400, "lifetime": None}


@dataclass
class Speaker:
    """Whose voice it is: a user of the service, or a visitor with a profile and a cookie."""

    user: str | None = None
    profile: Profile | None = None
    cookie: str = ""


class Visitors:
    """The visitors of the last half hour, by the secret in their cookie."""

    def __init__(self) -> None:
        self._visits: OrderedDict[str, tuple[float, Profile]] = OrderedDict()

    def speaker(self, cookie: str | None) -> Speaker:
        """Return the visitor with this cookie; one who is not known gets a new one."""
        now_s = monotonic()
        while self._visits and self._is_surplus(now_s):
            self._visits.popitem(last=False)
        _, profile = self._visits.pop(cookie or "", (now_s, None))
        if cookie is None or profile is None:
            cookie, profile = secrets.token_urlsafe(), Profile()
        self._visits[cookie] = (now_s, profile)
        return Speaker(profile=profile, cookie=cookie)

    def _is_surplus(self, now_s: float) -> bool:
        oldest_s, _ = next(iter(self._visits.values()))
        return oldest_s < now_s - VISIT_S or len(self._visits) >= MOST_VISITORS


class State(TypedDict):
    captioner: Captioner
    visitors: Visitors
    users: dict[str, str]


class BodyLimit:
    """Refuses a request of more than ``MOST_BYTES`` while it arrives, before it fills the disk."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        num_bytes = 0

        async def limited() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > MOST_BYTES:
                raise HTTPException(413, f"send at most {MOST_BYTES} bytes")
            return message

        await self._app(scope, limited, send)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Prepare one captioner before the worker answers, and close it when the worker ends."""
    named = (one.split(":", 1) for one in os.environ.get("SERVICE_TOKENS", "").split(",") if one)
    users = {sha256(token.encode()).hexdigest(): user for user, token in named}
    async with Captioner(config=SETTINGS) as captioner:
        await captioner.aprewarm()
        yield State(captioner=captioner, visitors=Visitors(), users=users)


async def refused(_: Request, error: Exception) -> JSONResponse:
    status = next(status for kind, status in STATUS_OF_ERROR.items() if isinstance(error, kind))
    return JSONResponse({"detail": str(error)}, status)


app = FastAPI(title="Captions", lifespan=lifespan)
app.add_middleware(BodyLimit)
for kind in STATUS_OF_ERROR:
    app.add_exception_handler(kind, refused)


async def speaker_of(
    request: Request,
    token: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
    visit: Annotated[str | None, Cookie()] = None,
) -> Speaker:
    if token is None:
        visitors: Visitors = request.state.visitors
        return visitors.speaker(visit)
    user = request.state.users.get(sha256(token.credentials.encode()).hexdigest())
    if user is None:
        raise HTTPException(401, "this token is not known", {"WWW-Authenticate": "Bearer"})
    return Speaker(user)


@app.post("/captions")
async def caption(
    request: Request,
    clip: UploadFile,
    speaker: Annotated[Speaker, Depends(speaker_of)],
    length: CaptionLength = CaptionLength.NORMAL,
) -> Response:
    """Caption the recording in the form's field ``clip``."""
    made = await request.state.captioner.acaption(
        clip.file, user=speaker.user, profile=speaker.profile, length=length, timeout_s=TIMEOUT_S
    )
    status, headers = status_of(made)
    response = Response(made.to_json(), status, headers, "application/json")
    if speaker.cookie:
        secure = request.url.scheme == "https"
        response.set_cookie(
            "visit", speaker.cookie, VISIT_S, secure=secure, httponly=True, samesite="lax"
        )
    return response


def status_of(made: Caption) -> tuple[int, dict[str, str]]:
    """Return 429 if the user has to wait until something may be sent again, otherwise 200."""
    reason = made.unverified_reason
    if reason is None or reason.code is not ReasonCode.CAP_EXCEEDED or reason.cap is None:
        return 200, {}
    window = reason.cap.rpartition("_")[2]
    if window not in SECONDS_UNTIL_RETRY:
        return 200, {}
    seconds = SECONDS_UNTIL_RETRY[window]
    return 429, {} if seconds is None else {"Retry-After": str(seconds)}


@app.get("/healthz")
async def health() -> dict[str, str]:
    return {"status": "ok"}
