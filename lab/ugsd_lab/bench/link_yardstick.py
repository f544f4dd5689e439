"""The yardstick of ``ugsd-lab bench link``: split computing, which uploads features of the clip.

It is no mode of the product, whose wire has no such message: what it sends is what the product
forbids. It does not use the wire, only the same emulated link. The server decodes as many tokens as
the drafter's own caption has. Only the first clause means anything, since the verifier's network
was not trained to word what a device measures, so its claims are not judged.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from time import perf_counter

from ugsd_sdk.drafter.slot_table import SlotTable

from ugsd_lab.bench.link_clips import EncodedClip
from ugsd_lab.bench.link_device import Slowdown
from ugsd_lab.bench.link_rows import Measured, emotion_of
from ugsd_lab.bench.link_settings import Setting, Upload
from ugsd_lab.bench.verifier_process import SplitClient, VerifierProcess
from ugsd_lab.evaluation.systems import CachedDrafter

__all__ = ["split_captions"]


def split_captions(
    setting: Setting,
    upload: Upload,
    port: int,
    verifier: VerifierProcess,
    projection: int,
    cached: CachedDrafter,
    table: SlotTable,
    encoded: Sequence[EncodedClip],
    lengths: Sequence[int],
) -> list[Measured]:
    """Return what was measured of each clip through the link at ``port``. ``lengths`` are the
    tokens of each caption, without the end marker.

    A log-mel spectrogram is uploaded as random bytes of its size, and the audio encoder's time,
    which the server would take, is added. The state that the verifier decodes from goes with them.
    """
    scale, found = setting.time_scale, []
    with closing(SplitClient(port)) as client:
        for one, num_tokens in zip(encoded, lengths, strict=True):
            conditioned, is_mel = cached.conditioned(one.clip), upload is Upload.MEL
            features = os.urandom(one.mel_bytes) if is_mel else _embedding(cached, one)
            before, started_s = verifier.usage(), perf_counter()
            tokens, num_bytes = client.decode(
                conditioned.state, projection, num_tokens + 1, features
            )
            waited_s, after = perf_counter() - started_s, verifier.usage()
            there_s = one.embedding_cpu_s if is_mel else 0.0
            encoding_s = _encoding_s(setting, one, is_mel=is_mel)
            decoding_s = there_s + scale * waited_s
            found.append(
                Measured(
                    encoding_s=encoding_s,
                    decoding_s=decoding_s,
                    first_token_s=encoding_s + decoding_s,
                    num_tokens=num_tokens,
                    is_emotion_right=emotion_of(table, tokens) == one.clip.emotion,
                    claims=(),
                    bytes_sent=num_bytes,
                    device_cpu_s=encoding_s,
                    verifier_cpu_s=after.since(before, scale) + there_s,
                    has_asked=True,
                    num_blocks=1,
                    failure="",
                )
            )
    return found


def _embedding(cached: CachedDrafter, one: EncodedClip) -> bytes:
    voice = cached.conditioned(one.clip).voice
    assert voice is not None  # noqa: S101  # every bundled drafter has an audio embedding
    return voice.embedding.astype("<f4").tobytes()


def _encoding_s(setting: Setting, one: EncodedClip, *, is_mel: bool) -> float:
    """Return the device's time before the upload. With the paper's step times it is that of this
    machine, since the large model would not run on the device."""
    cpu_s = one.front_cpu_s if is_mel else one.encoding_cpu_s
    return setting.pace.encoding_s(cpu_s) if isinstance(setting.pace, Slowdown) else cpu_s
