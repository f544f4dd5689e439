"""Exports: the log in one file that anyone can verify without the device. This is its format.

A CBOR sequence (RFC 8742) of byte strings, each of which contains one item in deterministic CBOR:

1. a map: ``format``, ``version``, ``key`` (the log's verifier key), ``size``, ``bodies`` (whether
   they are included), ``hours`` (the first and last charged hour, by the device's clock) and
   ``checkpoints`` (notes of this log, the last of which has ``size`` leaves);
2. for each 256 leaves: their entry bundle, their sealed bodies (or no bodies; empty for a body that
   was erased or never sealed), and 4 bytes of CRC-32 for each leaf over its index, content and
   body, which locate damage but prove nothing;
3. the sums of the leaves' counters: blocks, tokens, bytes;
4. a seal: the log key's note over the SHA-256 of all bytes before.

Reading and writing keep one chunk of 256 leaves in memory at a time.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, BinaryIO, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ugsd_privacy.audit.bodies import StoredBodyChecker, is_sealed
from ugsd_privacy.audit.publishing import check_contents
from ugsd_privacy.audit.records import Leaf
from ugsd_privacy.cbor import decode_item, encode_item
from ugsd_privacy.errors import ExportFailed, LogOfAnotherVersion, LogTampered, WireError
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import LedgerView
from ugsd_privacy.strict_models import StrictModel
from ugsd_privacy.tlog.checkpoint import Checkpoint, open_checkpoint, sign_note
from ugsd_privacy.tlog.merkle import extend_frontier, frontier_root, leaf_hash
from ugsd_privacy.tlog.note_files import MAX_NOTE_BYTES
from ugsd_privacy.tlog.tiles import TILE_WIDTH, bundle_bytes

__all__ = [
    "CHECK_BYTES",
    "EXPORT_FORMAT",
    "EXPORT_VERSION",
    "MAX_BODY_BYTES",
    "MAX_CHECKPOINTS",
    "MAX_ITEM_BYTES",
    "ExportHeader",
    "RunningTotals",
    "check_longest",
    "check_roots",
    "export_log",
    "leaf_check",
    "read_item",
    "seal_text",
]

CHECK_BYTES = 4
EXPORT_FORMAT = "ugsd log"
EXPORT_VERSION = 1
MAX_BODY_BYTES = 0x1_0000
MAX_CHECKPOINTS = 96
"""Those of 64 witnesses, the log's own, and some others."""
MAX_ITEM_BYTES = 0x200_0000
"""Longest item; enough for a chunk of the longest leaves and bodies."""
_MAX_DEPTH = 2
"""A chunk is an array that contains the array of bodies."""
_MAX_ITEMS = 512
"""A chunk with all its bodies has fewer items, and so has a header."""

_Hour = Annotated[int, Field(strict=True, ge=0, lt=70_389_528)]
"""Hours end before the year 10,000, as calendars do."""
_Note = Annotated[str, Field(max_length=MAX_NOTE_BYTES)]


class ExportHeader(StrictModel):
    """The first item of an export."""

    format: Literal["ugsd log"] = "ugsd log"
    version: Annotated[int, Field(ge=EXPORT_VERSION, le=EXPORT_VERSION)] = EXPORT_VERSION
    key: Annotated[str, Field(max_length=1024)]
    size: Annotated[int, Field(ge=0, lt=2**40)]
    bodies: bool
    hours: Annotated[tuple[_Hour, ...], Field(max_length=2)]
    """First and last hour by the device's clock; empty without any egress."""
    checkpoints: Annotated[tuple[_Note, ...], Field(min_length=1, max_length=MAX_CHECKPOINTS)]

    @model_validator(mode="after")
    def _check_hours(self) -> Self:
        if len(self.hours) == 1 or list(self.hours) != sorted(self.hours):
            raise ValueError("hours must be the first and the last, or none")
        return self

    @classmethod
    def of(cls, item: object) -> ExportHeader:
        """Validate a decoded item. Raises :class:`LogTampered`."""
        if not isinstance(item, dict) or item.get("format") != EXPORT_FORMAT:
            raise LogTampered("not an exported log")
        version = item.get("version")
        if type(version) is int and version != EXPORT_VERSION:
            raise LogOfAnotherVersion(
                f"the export has version {version}, but this release reads {EXPORT_VERSION}"
            )
        try:
            return cls.model_validate(item)
        except ValidationError:
            raise LogTampered("the export's header is damaged") from None

    def to_bytes(self) -> bytes:
        """Encode the header as an item."""
        return encode_item(self.model_dump())


@dataclass(slots=True)
class RunningTotals:
    """The tree and the sums of counters of a log, as far as it was read."""

    size: int = 0
    blocks: int = 0
    tokens: int = 0
    frame_bytes: int = 0
    bodies: int = 0
    frontier: list[bytes] = field(default_factory=list)

    @property
    def root(self) -> bytes:
        return frontier_root(self.frontier)

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.blocks, self.tokens, self.frame_bytes

    def add(self, content: bytes) -> None:
        """Add the next leaf. Raises :class:`LogTampered` if it is malformed."""
        try:
            leaf = Leaf.from_bytes(content)
        except LogTampered as error:
            raise type(error)(f"leaf {self.size}: {error}", index=self.size) from None
        self.frontier, _ = extend_frontier(self.frontier, self.size, leaf_hash(content))
        self.size += 1
        self.blocks += leaf.blocks
        self.tokens += leaf.tokens
        self.frame_bytes += leaf.frame_bytes


def export_log(
    view: LedgerView,
    note: str,
    key: LogKey,
    file: BinaryIO,
    *,
    earlier: Sequence[str] = (),
    bodies: bool = False,
) -> RunningTotals:
    """Write the log up to ``note``, a checkpoint of it, to ``file``.

    ``earlier`` are checkpoints that the log must extend, such as cosigned ones; they are included.
    ``bodies`` includes the sealed bodies; plain bodies are never included, because they reveal what
    the owner did. Raises :class:`LogTampered` if the log differs from what was signed, or a body is
    missing that no record says was erased; then the caller must discard the file.
    """
    signed = open_checkpoint(note, key.public)
    checkpoints = [signed, *(open_checkpoint(other, key.public) for other in earlier)]
    notes = (*dict.fromkeys(earlier), note)
    if len(notes) > MAX_CHECKPOINTS:
        raise ExportFailed(f"an export may contain at most {MAX_CHECKPOINTS} checkpoints")
    header = ExportHeader(
        key=key.public.to_text(),
        size=signed.size,
        bodies=bodies,
        hours=view.hours() or (),
        checkpoints=notes,
    )
    digest, sums = hashlib.sha256(), RunningTotals()

    def put(item: bytes) -> None:
        framed = encode_item(item)
        digest.update(framed)
        file.write(framed)

    put(header.to_bytes())
    stored = StoredBodyChecker()
    for chunk in _chunks(view, signed.size):
        check_roots(checkpoints, sums)
        for content, body in chunk:
            if bodies:
                stored.add(sums.size, content, body)
            sums.add(content)
            check_roots(checkpoints, sums)
        put(_chunk_bytes(sums.size - len(chunk), chunk, bodies=bodies))
    stored.check_end()
    check_roots(checkpoints, sums)
    check_longest(checkpoints, sums)
    put(encode_item(sums.counts))
    put(encode_item(sign_note(seal_text(digest.digest()), key)))
    return sums


def check_roots(checkpoints: Sequence[Checkpoint], sums: RunningTotals) -> None:
    """Raise :class:`LogTampered` if a checkpoint of the current size has another root."""
    for checkpoint in checkpoints:
        if checkpoint.size == sums.size and checkpoint.root != sums.root:
            matched = max((c.size for c in checkpoints if c.size < sums.size), default=0)
            raise LogTampered(
                f"one or more of leaves {matched} to {sums.size - 1} differ from what was signed",
                index=matched,
            )


def check_longest(checkpoints: Sequence[Checkpoint], sums: RunningTotals) -> None:
    """Raise :class:`LogTampered` if a checkpoint has more leaves than were read."""
    longest = max(checkpoint.size for checkpoint in checkpoints)
    if longest > sums.size:
        raise LogTampered(
            f"truncated: {longest} leaves were signed, but only {sums.size} are here",
            index=sums.size,
        )


def leaf_check(index: int, content: bytes, body: bytes = b"") -> bytes:
    """Return the CRC-32 of a leaf's index (big-endian uint64), content and body."""
    place = zlib.crc32(index.to_bytes(8, "big"))
    return zlib.crc32(body, zlib.crc32(content, place)).to_bytes(CHECK_BYTES, "big")


def seal_text(digest: bytes) -> str:
    """Return the text that the log key signs for an export; it cannot be taken for a checkpoint."""
    return f"{EXPORT_FORMAT} export {EXPORT_VERSION}\n{base64.b64encode(digest).decode()}\n"


def read_item(file: BinaryIO) -> tuple[bytes, Any]:
    """Return the bytes of the next item with its frame, and the item; no bytes at the file's end.

    Raises :class:`LogTampered` if the item is truncated, too long, or not deterministic CBOR.
    """
    head = file.read(1)
    if not head:
        return b"", None
    argument = head[0] & 0x1F
    extra = file.read(1 << (argument - 24)) if 24 <= argument <= 27 else b""
    length = int.from_bytes(extra, "big") if extra else argument
    if length > MAX_ITEM_BYTES:
        raise LogTampered("an item of the file is too long")
    item = file.read(length)
    framed = head + extra + item
    if framed != encode_item(item) or len(item) != length:
        raise LogTampered("the file is truncated or damaged")
    return framed, _loads(item)


def _chunks(view: LedgerView, size: int) -> Iterator[list[tuple[bytes, bytes]]]:
    for start in range(0, size, TILE_WIDTH):
        stop = min(start + TILE_WIDTH, size)
        chunk = view.leaves(start, stop)
        check_contents([content for content, _ in chunk], view.nodes(0, start, stop), start)
        yield chunk


def _chunk_bytes(start: int, chunk: Sequence[tuple[bytes, bytes]], *, bodies: bool) -> bytes:
    contents = [content for content, _ in chunk]
    sealed = [body if is_sealed(body) else b"" for _, body in chunk] if bodies else []
    if any(len(body) > MAX_BODY_BYTES for body in sealed):
        raise ExportFailed(f"a body is longer than {MAX_BODY_BYTES} bytes; export without bodies")
    checks = b"".join(
        leaf_check(index, content, *sealed[index - start : index - start + 1])
        for index, content in enumerate(contents, start)
    )
    return encode_item([bundle_bytes(contents), sealed, checks])


def _loads(data: bytes) -> Any:
    try:
        item = decode_item(data, max_depth=_MAX_DEPTH, max_items=_MAX_ITEMS)
    except WireError as error:
        raise LogTampered(f"an item of the file is damaged: {error}") from None
    if encode_item(item) != data:
        raise LogTampered("an item of the file is not deterministic CBOR")
    return item
