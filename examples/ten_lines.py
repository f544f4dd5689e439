"""How clips of one speaker sound, in words and as data, and what was sent for each.

    python examples/ten_lines.py [CLIP...]

The first three clips only enrol the speaker. For the last bundled one it prints::

    There is distaste in the voice, with the emphasis near the end, more agitated than just before.
    disgusted by the verifier
    1 block sent: 6 tokens, 1 state, no guarantee (no noise), 128 bytes
"""

import sys
from pathlib import Path

import ugsd_sdk

BUNDLED = Path(ugsd_sdk.__file__).parent / "starter" / "clips"
with ugsd_sdk.Captioner("free", verifier="embedded", user="ada") as captioner:
    captioner.wait_until_connected()
    for clip in sys.argv[1:] or sorted(map(str, BUNDLED.glob("16*.opus"))):
        caption = captioner.caption(clip)
        said = caption.attributes.emotion
        print(caption, f"{said.value} by the {said.decided_by}", caption.usage.text(), sep="\n")
