"""Caption a clip twice: by this device alone, then with the verifier that the package brings.

    python examples/caption_file.py [CLIP]

The second time keeps its log in ~/.ugsd; read it with ``ugsd audit show``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ugsd_sdk
from ugsd_sdk import Captioner

BUNDLED = Path(ugsd_sdk.__file__).parent / "starter" / "clips"


def main() -> None:
    clip = Path(sys.argv[1]) if len(sys.argv) > 1 else min(BUNDLED.glob("*.opus"))

    with Captioner() as captioner:  # no verifier: neither network nor home is touched
        print("alone:   ", captioner.caption(clip).text)

    with Captioner(verifier="embedded") as captioner:
        captioner.connect()  # or the first captions may be made while it still starts
        caption = captioner.caption(clip)
    print("verified:", caption.text)

    for token in caption.tokens:
        print(f"  {token.text.strip():<14} {token.source:<10} {'left' if token.left else 'kept'}")
    cost = caption.escalation
    print(f"{cost.frames} frames, {cost.bytes_sent} bytes sent; degraded: {caption.degraded}")


if __name__ == "__main__":
    main()
