"""Caption clips of one voice twice: by this device alone, then with the bundled verifier.

    python examples/caption_file.py [CLIP...]

The device gets acquainted with a voice before it lets anything of it leave, so name four clips or
more. The second time keeps its log, and what it knows of the voice, in ~/.ugsd; read the log with
``ugsd audit show``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ugsd_sdk
from ugsd_sdk import Captioner

BUNDLED = Path(ugsd_sdk.__file__).parent / "starter" / "clips"


def main() -> None:
    clips = list(map(Path, sys.argv[1:])) or sorted(BUNDLED.glob("16*.opus"))

    with Captioner() as captioner:  # no verifier: neither network nor home is touched
        for clip in clips:
            print("alone:   ", captioner.caption(clip).text)

    with Captioner(verifier="embedded") as captioner:
        captioner.wait_until_connected()  # or the first captions may be made while it still starts
        for clip in clips:
            caption = captioner.caption(clip)
            print("verified:", caption.text)

    print("The last one, word by word:")
    for token in caption.tokens:
        print(
            f"  {token.text.strip():<14} {token.source:<10} {'left' if token.disclosed else 'kept'}"
        )
    cost = caption.usage
    print(
        f"{cost.num_frames} frames, {cost.bytes_sent} bytes sent; "
        f"degraded: {caption.unverified_reason}"
    )


if __name__ == "__main__":
    main()
