"""Two users, each with a budget that runs out: captions continue and say why they are unverified.

Ben uses the preset for a child. The first three captions of each user only enrol the speaker.

    python examples/budgets.py [SETTINGS.toml]
"""

from __future__ import annotations

import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

import ugsd_sdk
from ugsd_sdk import Captioner

BUNDLED = Path(ugsd_sdk.__file__).parent / "starter" / "clips"
BUDGETS = Path(__file__).with_name("budgets.toml")


def main() -> None:
    budgets = sys.argv[1] if len(sys.argv) > 1 else BUDGETS
    clips = list(islice(cycle(sorted(BUNDLED.glob("16*.opus"))), 7))
    with (
        tempfile.TemporaryDirectory(prefix="ugsd-example-") as home,
        Captioner(config=budgets, home=home) as captioner,
    ):
        for user in ("ada", "ben"):  # one log, one budget per user
            captioner.wait_until_connected(user=user)
            for clip in clips:
                caption = captioner.caption(clip, user=user)
                print(f"{user}: {caption.text}")
                status = caption.unverified_reason or "verified as intended"
                print(f"  blocks sent: {caption.usage.num_blocks}; {status}")
                first = caption.decisions[0]
                print(f"  first block {first.outcome}: {first.reason}")


if __name__ == "__main__":
    main()
