"""``ugsd-lab``: trains the starter pair, evaluates it, attacks it, and measures its speed."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from ugsd_privacy.output.completion import register_completion
from ugsd_privacy.output.terminal import print_error, run_app

from ugsd_lab.cli import (
    attack,
    bench,
    calibrate_risk,
    captions,
    claims,
    evaluate,
    frontier,
    fuzz,
    train,
)

__all__ = ["main"]

# Heavy imports are inside the commands, so that --help is fast.

_INTERRUPTED = 130

_app = typer.Typer(
    name="ugsd-lab",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, evaluate and measure. Needs the lab extra: pip install '.[lab]'.",
)
train.register(_app)
evaluate.register(_app)
claims.register(_app)
attack.register(_app)
frontier.register(_app)
fuzz.register(_app)
calibrate_risk.register(_app)
bench.register(_app)
captions.register(_app)
register_completion(_app, "ugsd-lab")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    from ugsd_privacy.errors import UgsdError
    from ugsd_privacy.output.standard_output import reserved_stdout

    try:
        with reserved_stdout():
            return run_app(_app, argv, "ugsd-lab")
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ugsd"):
            raise
        print_error("ugsd-lab", f"{error.name} is missing: pip install '.[lab]' in a checkout")
        return 1
    except UgsdError as error:
        print_error("ugsd-lab", error)
        return 1
