"""Caption clips of one speaker twice: on this device alone, then with the bundled verifier.

    python examples/caption_file.py [CLIP...]

The first three clips only enrol the speaker, so give four or more. The second run stores its log
and the speaker profile in ~/.ugsd; read the log with ``ugsd audit show``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ugsd_sdk
from ugsd_sdk import Captioner

BUNDLED = Path(ugsd_sdk.__file__).parent / "starter" / "clips"


def main() -> None:
    clips = list(map(Path, sys.argv[1:])) or sorted(BUNDLED.glob("16*.opus"))

    with Captioner() as captioner:  # no verifier: uses neither the network nor the home folder
        for result in captioner.caption_many(clips):  # side by side, in their order
            print("device:  ", result.caption or result.error)

    with Captioner(verifier="embedded", user="ada") as captioner:
        captioner.wait_until_connected()  # otherwise the first captions may be unverified
        for clip in clips:
            caption = captioner.caption(clip)
            print("verified:", caption.text)

    print("The last caption, word by word:")
    for token in caption.tokens:
        print(
            f"  {token.text.strip():<14} {token.source:<10} "
            f"{'sent' if token.disclosed else 'not sent'}"
        )
    usage = caption.usage
    unverified = caption.unverified_reason or "nothing"
    print(f"{usage.num_frames} frames, {usage.bytes_sent} bytes sent; unverified: {unverified}")


if __name__ == "__main__":
    main()
