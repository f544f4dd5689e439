"""The whole content of a log record, for ``ugsd audit show --content``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ugsd_privacy.audit.records import EgressRecord
    from ugsd_privacy.reports.readings import ReadState

__all__ = ["content_lines", "content_of", "words_of"]

# Heavy imports are inside the functions, so that --help answers at once.
# ruff: noqa: PLC0415


def words_of(vocabulary: Path | None) -> Sequence[str]:
    """Return the text of each token id, by default from the bundled vocabulary. Raises
    ``ConfigError``."""
    from ugsd_privacy.files.bounded_files import MAX_TEXT_BYTES, read_regular

    from ugsd_sdk.errors import ConfigError

    try:
        if vocabulary is None:
            data = (files("ugsd_sdk") / "starter" / "vocabulary.json").read_bytes()
        else:
            data = read_regular(vocabulary, MAX_TEXT_BYTES)
        pieces = json.loads(data)
    except (OSError, ValueError, RecursionError):
        raise ConfigError(
            f"{vocabulary}: not a readable vocabulary file: give a drafter's vocabulary.json"
        ) from None
    if not isinstance(pieces, list) or not all(isinstance(piece, str) for piece in pieces):
        raise ConfigError(
            f"{vocabulary}: not a list of texts by token id: give a drafter's vocabulary.json"
        )
    return pieces


def content_of(
    record: EgressRecord, words: Sequence[str], read_state: ReadState
) -> dict[str, Any] | None:
    """Return what the verifier could read; ``None`` if the log does not hold it or nothing was
    sent. The ``reading`` of a state has the emotions that the verifier most
    likely reads from it."""
    from ugsd_privacy.dp.mechanism import dequantise
    from ugsd_privacy.protocol.messages import Block, decode_device_message
    from ugsd_privacy.reports.questions import question_of
    from ugsd_privacy.reports.readings import read_received

    if record.message is None:
        return None
    message = decode_device_message(record.message)
    if not isinstance(message, Block):
        return {"kind": message.kind}
    positions = range(message.keep, message.end)
    tokens = zip(positions, message.prefix + message.tokens, strict=True)
    states = (
        dequantise(message.states, message.state_dim, message.exponent) if message.state_dim else ()
    )
    return {
        "kind": "block",
        "disclosure": str(record.disclosure),
        "sigma": record.sigma,
        "question": question_of(
            message.slot, message.continue_to, len(message.draft_weights)
        ).text(),
        "projection": message.projection,
        "draft_weights": list(message.draft_weights),
        "tokens": [
            {"position": at, "id": token, "text": words[token] if token < len(words) else None}
            for at, token in tokens
        ],
        "states": [
            {
                "position": at,
                "numbers": [round(float(number), 4) for number in state],
                "reading": _rounded(
                    read_received(read_state, record.projection_id, state, message.exponent)
                ),
            }
            for at, state in zip(message.state_positions, states, strict=True)
        ],
    }


def content_lines(index: int, content: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that show a record's content to people."""
    from ugsd_privacy.reports.readings import reading_text

    if content["kind"] != "block":
        yield f"record {index}: {content['kind']}, without content"
        return
    noise = "no noise" if content["sigma"] is None else f"noise of sigma {content['sigma']:g}"
    yield f"record {index}: {content['disclosure']}, {noise}"
    yield f"  asked {content['question']}"
    for token in content["tokens"]:
        text = "" if token["text"] is None else f"  {token['text']!r}"
        yield f"  token {token['position']:3}  id {token['id']}{text}"
    for state in content["states"]:
        numbers = " ".join(f"{number:+.3f}" for number in state["numbers"])
        yield f"  state {state['position']:3}  {numbers}"
        if state["reading"] is not None:
            yield f"    a verifier reads: {reading_text(state['reading'], content['sigma'])}"
    if content["draft_weights"]:
        yield f"  draft weights  {' '.join(map(str, content['draft_weights']))}"


def _rounded(reading: Mapping[str, float] | None) -> dict[str, float] | None:
    if reading is None:
        return None
    return {value: round(share, 3) for value, share in reading.items()}
