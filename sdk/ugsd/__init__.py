"""The names of :mod:`ugsd_sdk` under the name of the distribution: ``from ugsd import Captioner``.

Importing it loads nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ugsd_sdk
from ugsd_sdk import __all__ as __all__
from ugsd_sdk import __version__ as __version__

if TYPE_CHECKING:  # a type checker must see names, not a function that has any
    from ugsd_sdk import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        return getattr(ugsd_sdk, name)


def __dir__() -> list[str]:
    return dir(ugsd_sdk)
