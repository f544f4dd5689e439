"""What a voice sounds like, as words and as data, and what was sent to find out.

    python examples/ten_lines.py [CLIP]

It prints::

    There is great cheerfulness in the voice, with the emphasis near the end.
"""

import sys
from pathlib import Path

import ugsd_sdk
from ugsd_sdk import Captioner

clip = sys.argv[1] if len(sys.argv) > 1 else Path(ugsd_sdk.__file__).parent / "starter/clips/16b10Eb.opus"
with Captioner(verifier="embedded") as captioner:
    captioner.wait_until_connected()
    caption = captioner.caption(clip)
print(caption)
