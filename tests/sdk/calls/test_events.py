"""Events have no content, and a callback that raises costs nothing."""

from __future__ import annotations

import dataclasses
import logging
import typing

import pytest
from ugsd_sdk.calls.events import CallEvent, CaptionStarted, EventListener


def test_events_have_only_numbers_and_names() -> None:
    kinds = typing.get_args(CallEvent)
    fields = {(field.name, field.type) for kind in kinds for field in dataclasses.fields(kind)}
    texts = {name for name, kind in fields if kind not in {"float", "int"}}
    assert texts == {"unverified_reason", "error"}
    assert all(kind.__dataclass_params__.frozen for kind in kinds)


def test_failing_callback_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: CallEvent) -> None:
        raise ZeroDivisionError("secret")

    listener = EventListener(fail)
    with caplog.at_level(logging.ERROR):
        listener(CaptionStarted())
        listener(CaptionStarted())
    assert [record.getMessage() for record in caplog.records] == [
        "on_event raised ZeroDivisionError"
    ]


def test_callback_must_be_callable() -> None:
    with pytest.raises(TypeError, match="on_event"):
        EventListener("print")  # type: ignore[arg-type]
