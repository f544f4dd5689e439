"""Readers of foreign data refuse every value of another type than declared."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from ugsd_privacy.audit.export import ExportHeader
from ugsd_privacy.audit.receipts import Consistency, Receipt
from ugsd_privacy.audit.records import (
    RECORD_VERSION,
    RECORDING_VERSION,
    EgressRecord,
    Leaf,
    decode_record,
)
from ugsd_privacy.budget import WINDOWS
from ugsd_privacy.cbor import decode_item, encode_item
from ugsd_privacy.dp.accounting import UNBOUNDED_COST, Guarantee
from ugsd_privacy.errors import PrivacyError
from ugsd_privacy.files.key_files import to_text
from ugsd_privacy.files.marks import MarkFile
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.manifest import (
    _LABEL,
    _PREFIX,
    KeyManifest,
    ManifestKey,
    verify_manifest,
)
from ugsd_privacy.keys.root import RootKey
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.messages import (
    AskedSlot,
    Block,
    ContinueTo,
    Disclosure,
    Verdict,
    Welcome,
    decode_device_message,
    decode_server_message,
    encode,
)
from ugsd_privacy.reports.known_logs import KnownLog, KnownLogs
from ugsd_privacy.reports.leakage import Leakage
from ugsd_privacy.reports.parts import Part
from ugsd_privacy.reports.schema import read_report
from ugsd_privacy.strict_models import StrictModel
from ugsd_privacy.tlog.checkpoint import sign_checkpoint
from ugsd_sdk.audio.channels import ChannelLayout
from ugsd_sdk.cli.audit.verify import _proof_of
from ugsd_sdk.cli.clips import read_clips
from ugsd_sdk.connection.embedded import EmbeddedVerifier
from ugsd_sdk.connection.trust import TrustedRoot
from ugsd_sdk.decoding.measured_frontier import MeasuredFrontier
from ugsd_sdk.decoding.risk_calibration import RiskCalibration
from ugsd_sdk.decoding.uncertainty import RejectionPredictor, _RejectionPredictorFile
from ugsd_sdk.drafter.bundle import DrafterBundle, DrafterDescription
from ugsd_sdk.drafter.state_reading import StateReading
from ugsd_sdk.errors import UgsdError
from ugsd_sdk.timelines import (
    ArcPoint,
    Relation,
    Timeline,
    TimelineChannel,
    TimelineNote,
    TimelineUtterance,
    TurningPoint,
)
from ugsd_sdk.timelines.measures import Measure
from ugsd_server.errors import ServerError
from ugsd_server.verifier.onnx import ModelDescription, _read_description

from tests.doubles.captions import sample_caption
from tests.doubles.state_readings import drafter_folder, reading_fields
from tests.privacy.reports.report_specimen import REPORT

_MOST_ELEMENTS = 12
KEY = LogKey.generate()
NOTE = sign_checkpoint(1, bytes(32), KEY)
HASH = "0" * 64
REFUSALS = (PrivacyError, ServerError, UgsdError)
"""Typed errors of the packages: a bare ``ValueError`` of a parser is a fault."""
ROOT = RootKey.generate()
STARTER = Path("sdk/ugsd_sdk/starter")
SERVER_STARTER = Path("server/ugsd_server/starter")

RECORD = EgressRecord(
    kind="hello",
    clip_norm=1.0,
    delta=1e-6,
    frame_bytes=1,
    frame_sha256=bytes(32),
    before={"hour": (1, 1, 1, 1, 1), "day": (1, 1, 1, 1, 1), "lifetime": (1, 1, 1, 1, 1)},
    hour=1,
    user="ada",
    time_s=1,
)
BLOCK_RECORD = EgressRecord(
    version=RECORDING_VERSION,
    kind="block",
    caption=1,
    caption_id=bytes(16),
    recording_id=bytes(16),
    disclosure=Disclosure.DISTRIBUTIONS,
    slot=AskedSlot.EMOTION,
    tokens=(1,),
    state_positions=(1,),
    state_dim=1,
    projection=1,
    keep=1,
    prefix=(1,),
    continue_to=ContinueTo.CLAUSE,
    exponent=1,
    num_draft_weights=1,
    clip_norm=1.0,
    sigma=0.25,
    spend=UNBOUNDED_COST,
    delta=1e-6,
    frame_bytes=1,
    frame_sha256=bytes(32),
    before=dict.fromkeys(WINDOWS, (1,) * 5),
    hour=1,
    user="ada",
    time_s=1,
)
BLOCK = Block(
    caption=1,
    slot=AskedSlot.EMOTION,
    tokens=(1,),
    state_positions=(1,),
    states=b"\1",
    projection=1,
    keep=1,
    prefix=(1,),
    continue_to=ContinueTo.CLAUSE,
    exponent=1,
    draft_weights=b"\1",
)
VERDICT = Verdict(caption=1, start=1, accepted=1, correction=1, continuation=(1,))
MANIFEST = KeyManifest(
    serial=1,
    issued_s=1,
    expires_s=2,
    keys=(ManifestKey(public=VerifierKey.generate().public.raw, not_before_s=0, not_after_s=1),),
)

RELATION = Relation(value="louder", confidence=0.95, measure=Measure.EFFORT, difference=4.5)
TIMELINE = Timeline(
    path="call.wav",
    duration_s=9.5,
    layout=ChannelLayout.APART,
    notes=(TimelineNote.SAME_SOUND,),
    recording_id="0" * 32,
    channels=(
        TimelineChannel(
            label="left",
            speech_s=2.5,
            speech_share=0.25,
            talk_share=0.75,
            utterances=(TimelineUtterance(start_s=0.5, end_s=1.5, caption=sample_caption()),),
            arc=(ArcPoint(at_s=0.5, arousal=0.5, valence=0.5, effort=0.5, pitch=0.5, pace=0.5),),
            turning_points=(
                TurningPoint(
                    at_s=0.5,
                    utterance=1,
                    p_value=0.5,
                    relations=(RELATION,),
                    emotion_before="sad",
                    emotion_after="angry",
                ),
            ),
            end_from_start=(RELATION,),
            summary="No speech.",
        ),
    ),
)


def from_cbor(read: Callable[[bytes], object]) -> Callable[[Any], object]:
    return lambda item: read(encode_item(item))


def from_json(read: Callable[[str], object]) -> Callable[[Any], object]:
    return lambda item: read(json.dumps(item))


def from_file(read: Callable[[Path], object], name: str) -> Callable[[Any, Path], object]:
    def reader(item: Any, folder: Path) -> object:
        (folder / name).write_text(json.dumps(item))
        (folder / name).chmod(0o600)
        return read(folder / name)

    return reader


def signed_and_read(data: bytes) -> KeyManifest:
    """Sign any content as a manifest with its root, and read it as a device does."""
    signature = ROOT.sign(data, label=_LABEL)
    return verify_manifest(
        to_text(ROOT.public.raw + signature + data, _PREFIX), pin=ROOT.public.pin
    )


def announced(item: Any) -> object:
    """Return what a device reads from the child that it starts as its verifier."""

    class Child(EmbeddedVerifier):
        def _command(self) -> list[str]:
            return [sys.executable, "-S", "-c", f"print({json.dumps(item)!r}); input()"]

    with TemporaryDirectory() as home:
        child = Child(Path(home))
        try:
            return child.start(30)
        finally:
            child.close()


def dumped(model: BaseModel) -> Any:
    return json.loads(model.model_dump_json())


def file_of(folder: Path, name: str, model: type[BaseModel]) -> Any:
    return dumped(model.model_validate_json((folder / name).read_bytes()))


IN_MEMORY: dict[str, tuple[Any, Callable[[Any], object]]] = {
    "export": (
        ExportHeader(
            key=KEY.public.to_text(), size=1, bodies=True, hours=(1, 1), checkpoints=(NOTE,)
        ).model_dump(),
        ExportHeader.of,
    ),
    "receipt": (
        dumped(
            Receipt(index=0, leaf_hash=HASH, tree_size=1, root=HASH, proof=(HASH,), checkpoint=NOTE)
        ),
        from_json(Receipt.from_json),
    ),
    "proof": (
        dumped(Consistency(earlier=NOTE, later=NOTE, proof=(HASH,))),
        lambda item: _proof_of(json.dumps(item).encode()),
    ),
    "report": (
        dumped(REPORT) | {"log": KEY.public.to_text()},
        lambda item: read_report(json.dumps(item).encode()),
    ),
    "record": (dict(decode_item(RECORD.to_bytes(), max_depth=3)), from_cbor(decode_record)),
    "leaf": ([RECORD_VERSION, bytes(32), 1, [1, 1]], from_cbor(Leaf.from_bytes)),
    "manifest": (MANIFEST.model_dump(), from_cbor(signed_and_read)),
    "block record": (
        dict(decode_item(BLOCK_RECORD.to_bytes(), max_depth=3)),
        from_cbor(decode_record),
    ),
    "block": (list(decode_item(encode(BLOCK), max_depth=2)), from_cbor(decode_device_message)),
    "verdict": (list(decode_item(encode(VERDICT), max_depth=2)), from_cbor(decode_server_message)),
    "refusal": ([3, 1], from_cbor(decode_server_message)),
    "welcome": (
        Welcome(
            version=2, vocabulary=bytes(32), projections=(bytes(32),), state_dim=1, max_tokens=1
        ).model_dump(),
        from_cbor(decode_server_message),
    ),
    "announcement": (
        {"url": "ws://127.0.0.1:1", "public_key": "k"},
        announced,
    ),
}
IN_FILES: dict[str, tuple[Any, Callable[[Any, Path], object]]] = {
    "known logs": (
        dumped(
            KnownLogs(
                logs={
                    KEY.public.origin: KnownLog(key=KEY.public.to_text(), checkpoint=NOTE, size=1)
                }
            )
        ),
        from_file(KnownLogs.load, "kept.json"),
    ),
    "rejection predictor": (
        file_of(STARTER, "gate.json", _RejectionPredictorFile),
        from_file(RejectionPredictor.load, "gate.json"),
    ),
    "state reading": (
        reading_fields(2),
        lambda item, folder: StateReading.load(
            DrafterBundle(drafter_folder(folder, item, state_dim=2))
        ),
    ),
    "leakage": (
        file_of(STARTER, "leakage.json", Leakage),
        from_file(
            lambda path: Leakage.load(
                path.parent, file_of(STARTER, "leakage.json", Leakage)["weights"]
            ),
            "leakage.json",
        ),
    ),
    "risk calibration": (
        file_of(STARTER, "quality.json", RiskCalibration) | {"weights": {}},  # of the empty folder
        from_file(lambda path: RiskCalibration.load(path.parent), "quality.json"),
    ),
    "measured frontier": (
        file_of(STARTER, "frontier.json", MeasuredFrontier) | {"weights": {}},
        from_file(lambda path: MeasuredFrontier.load(path.parent), "frontier.json"),
    ),
    "seen": (
        {"serial": 1, "latest_s": 1},
        from_file(
            lambda path: TrustedRoot(ROOT.public.pin, path, path.parent)._recorded(),
            f"{ROOT.public.pin.digest.hex()[:32]}.json",
        ),
    ),
    "marks": (
        {"format": "ugsd-marks/1", "marks": {"ab": [1, 1]}},
        from_file(lambda path: MarkFile(path.with_suffix("")).read(), "trust.anchor"),
    ),
    "drafter": (
        file_of(STARTER, "model.json", DrafterDescription),
        from_file(lambda path: DrafterBundle(path.parent).description(), "model.json"),
    ),
    "verifier": (
        file_of(SERVER_STARTER, "model.json", ModelDescription),
        from_file(lambda path: _read_description(path.parent), "model.json"),
    ),
    "clips": (
        json.loads((STARTER / "clips" / "clips.json").read_bytes()),
        from_file(lambda path: read_clips(path.parent), "clips.json"),
    ),
}


def lookalikes(value: object) -> list[Any]:
    """Return values that a lax reader accepts instead of ``value``."""
    if isinstance(value, bool):
        return [int(value), float(value), str(value).lower()]
    if isinstance(value, int):
        return [bool(value), float(value), str(value)]
    if isinstance(value, float):
        return [str(value), *([bool(value)] if value in {0.0, 1.0} else [True])]
    return [0, [value]] if isinstance(value, str) else []


def changed(item: Any) -> Iterator[tuple[str, Any]]:
    """Yield ``item`` with one scalar at a time replaced by each of its look-alikes, and only in the
    first elements of long arrays. No message has so many fields."""
    if isinstance(item, dict):
        for key, value in item.items():
            yield from ((f".{key}{at}", {**item, key: new}) for at, new in changed(value))
    elif isinstance(item, list | tuple):
        for index, value in enumerate(item[:_MOST_ELEMENTS]):
            for at, new in changed(value):
                yield f"[{index}]{at}", [*item[:index], new, *item[index + 1 :]]
    else:
        for new in lookalikes(item):
            yield f"={new!r}", new


@pytest.mark.parametrize("name", IN_MEMORY)
def test_readers_refuse_other_types(name: str) -> None:
    item, read = IN_MEMORY[name]
    read(item)
    for at, other in changed(item):
        try:
            read(other)
        except REFUSALS:
            continue
        pytest.fail(f"{name}{at} was accepted")


@pytest.mark.parametrize("name", IN_FILES)
def test_file_readers_refuse_other_types(name: str, tmp_path: Path) -> None:
    item, read = IN_FILES[name]
    read(item, tmp_path)
    for at, other in changed(item):
        try:
            read(other, tmp_path)
        except REFUSALS:
            continue
        pytest.fail(f"{name}{at} was accepted")


def test_timelines_refuse_other_types() -> None:
    """Results of captioning raise a ``ValueError``, as their readers say."""
    item, read = json.loads(TIMELINE.to_json(details=True)), from_json(Timeline.from_json)
    assert read(item) == TIMELINE
    for at, other in changed(item):
        try:
            read(other)
        except ValueError:
            continue
        pytest.fail(f"timeline{at} was accepted")


OWN = {
    "BudgetLimits", "UserSettings", "_Table", "VerifierSettings", "NoiseSettings",  # settings
    "AuditSettings", "Settings", "WithEnvironment",
    "CaptionToken", "CaptionSpeech", "CaptionProfile", "Latency", "CaptionUsage",  # results
    "Result", "Caption", "BlockDecision", "Attribute", "Attributes", "DescribedModel",
    "Timeline", "TimelineChannel", "TimelineUtterance", "ArcPoint", "TurningPoint", "Relation",
}  # fmt: skip
"""Models that are lax when we make them. Settings are text if they come from the environment, and
results are read back strictly, as the timeline above, which holds a caption."""


def models() -> Iterator[type[BaseModel]]:
    for package in ("ugsd_privacy", "ugsd_sdk", "ugsd_server"):
        module = importlib.import_module(package)
        for found in pkgutil.walk_packages(module.__path__, f"{package}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    waiting = [BaseModel]
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        if model.__module__.startswith("ugsd_"):
            yield model


def test_every_model_of_foreign_data_is_strict() -> None:
    """Parts of reports are lax when we make them, and read strictly."""
    lax = {model for model in models() if not issubclass(model, StrictModel | Part | Guarantee)}
    assert {model.__name__ for model in lax} <= OWN


def test_literal_number_cannot_be_declared() -> None:
    with pytest.raises(TypeError, match="use exactly"):

        class Loose(StrictModel):
            version: Annotated[Literal[1] | None, Field()]
