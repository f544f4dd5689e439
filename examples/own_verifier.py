"""Run your own verifier on this machine, pin its key, and caption over a websocket.

    python examples/own_verifier.py

The operator runs the two ``ugsd_server`` commands; the device needs the address and the published
key. Between machines the address is ``ws://host:port``, or ``wss://`` behind TLS.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ugsd_sdk
from ugsd_sdk import Captioner

BUNDLED = Path(ugsd_sdk.__file__).parent / "starter" / "clips"
SERVER = [sys.executable, "-m", "ugsd_server"]


@contextmanager
def verifier(key: Path) -> Iterator[str]:
    """Run a server on a free port of this machine, and yield its address."""
    options = [
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--key-file",
        str(key),
        "--announce",
        "--exit-with-stdin",
    ]
    with subprocess.Popen(  # noqa: S603  # our own interpreter and module
        [*SERVER, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield json.loads(process.stdout.readline())["url"]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ugsd-example-") as folder:
        home, key = Path(folder) / "home", Path(folder) / "verifier.key"
        command = [*SERVER, "keygen", "--key-file", str(key)]
        subprocess.run(command, check=True)  # noqa: S603  # as above
        public_key = Path(f"{key}.pub")  # the file to give to devices
        with (
            verifier(key) as url,
            Captioner(verifier=url, verifier_key=public_key, home=home, user="ada") as captioner,
        ):
            captioner.wait_until_connected()
            for clip in sorted(BUNDLED.glob("16*.opus")):
                caption = captioner.caption(clip)
                print(caption.text)
                print(f"  {caption.usage.bytes_sent} bytes sent to {url}")


if __name__ == "__main__":
    main()
