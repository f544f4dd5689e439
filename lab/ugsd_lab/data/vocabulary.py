"""The vocabulary: the words of neutral captions, in one file that both sides hash. No token spells
a gender; the device adds it when it turns tokens into text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ugsd_lab.data.captions import ATTRIBUTE_WORDS

__all__ = ["BOS", "EOS", "PAD", "Vocabulary"]

PAD, BOS, EOS, UNKNOWN = 0, 1, 2, 3
_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
_FUNCTION_WORDS = (
    "a", "and", "any", "at", "deal", "few", "go", "good", "great", "hardly", "in", "next", "no",
    "of", "one", "some", "the", "to", "under", "with",
)  # fmt: skip
_SPACE = "\u2581"


class Vocabulary:
    """Wraps the word-level model of ``tokenizers`` with a metaspace. ``vocabulary.json`` is the
    list of pieces, which is all that the device needs to turn tokens into text."""

    def __init__(self, tokenizer_json: str) -> None:
        from tokenizers import Tokenizer

        self._json = tokenizer_json
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self.pieces: list[str] = [
            str(self._tokenizer.id_to_token(i)) for i in range(self._tokenizer.get_vocab_size())
        ]

    @classmethod
    def train(cls, captions: Iterable[str]) -> Vocabulary:
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.WordLevel(unk_token=_SPECIAL[UNKNOWN]))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex("[.,;:]"), "isolated"),
                pre_tokenizers.Metaspace(prepend_scheme="first"),
            ]
        )
        trainer = trainers.WordLevelTrainer(special_tokens=_SPECIAL, show_progress=False)
        tokenizer.train_from_iterator([*captions, *_lexicon()], trainer)
        return cls(tokenizer.to_str())

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read the trained ``tokenizer.json``."""
        return cls(path.read_text(encoding="utf-8"))

    def save(self, path: Path) -> None:
        path.write_text(self._json, encoding="utf-8")

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def pieces_json(self) -> bytes:
        """The bytes of ``vocabulary.json``: pieces with real spaces, special tokens empty."""
        plain = ["" if i <= UNKNOWN else p.replace(_SPACE, " ") for i, p in enumerate(self.pieces)]
        return json.dumps(plain, ensure_ascii=True, separators=(",", ":")).encode()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.pieces_json).hexdigest()

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text).ids)

    def encode_from(self, text: str, start: int) -> tuple[list[int], int]:
        """Return the tokens of ``text``, and how many of them lie before its character
        ``start``."""
        encoding = self._tokenizer.encode(text)
        return list(encoding.ids), sum(end <= start for _, end in encoding.offsets)

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.pieces[t].replace(_SPACE, " ") for t in tokens if t > UNKNOWN).strip()

    def content_tokens(self) -> list[int]:
        """Return the tokens of words that state an attribute of the voice."""
        words = {
            word
            for values in ATTRIBUTE_WORDS.values()
            for phrases in values.values()
            for phrase in phrases
            for word in phrase.split()
            if word not in _FUNCTION_WORDS
        }
        return [i for i, p in enumerate(self.pieces) if p.removeprefix(_SPACE).lower() in words]


def _lexicon() -> Iterator[str]:
    """Yield every phrase of a neutral caption, as it appears inside one and at its beginning."""
    for attribute, values in ATTRIBUTE_WORDS.items():
        for phrases in values.values() if attribute != "gender" else ():
            for phrase in phrases:
                yield f"a {phrase}"
                yield phrase[0].upper() + phrase[1:]
