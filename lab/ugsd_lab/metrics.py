"""The measures of a table, one definition each."""

from __future__ import annotations

from collections.abc import Sequence

from ugsd_lab.captions import attributes_named

__all__ = ["bleu", "bleu_signature", "emotion_right"]


def bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """sacreBLEU's corpus BLEU, 0 to 100, of each caption against all of its references."""
    import sacrebleu

    streams = [list(stream) for stream in zip(*references, strict=True)]
    return float(sacrebleu.BLEU().corpus_score(list(captions), streams).score)


def bleu_signature(references: int) -> str:
    """What sacreBLEU prints so that others can compute the same number."""
    import sacrebleu

    metric = sacrebleu.BLEU()
    metric.corpus_score(["a"], [["a"]] * references)
    return str(metric.get_signature())


def emotion_right(caption: str, emotion: str) -> bool:
    """Whether the caption names the emotion, and no other."""
    return attributes_named(caption, "emotion") == {emotion}
