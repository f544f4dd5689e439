"""``completion``: a command that prints what makes a shell complete a program's commands.

typer offers options that detect the shell and change its start-up files. This command prints the
same script and leaves it to the user where it goes. Only names of commands, options and choices are
completed, and files by the shell itself: never what a home folder holds, such as users.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

__all__ = ["Shell", "prepare_completion", "register_completion"]


class Shell(StrEnum):
    """A shell that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def register_completion(app: typer.Typer, program: str) -> None:
    """Add the command to ``app``, whose program is called ``program``."""
    epilog = f"""Examples:

\b
  {program} completion bash > ~/.local/share/bash-completion/completions/{program}
  {program} completion zsh >> ~/.zshrc
  {program} completion fish > ~/.config/fish/completions/{program}.fish
  {program} completion powershell >> $PROFILE
"""

    @app.command("completion", epilog=epilog)
    def completion(
        shell: Annotated[Shell, typer.Argument(help="The shell.", show_choices=True)],
    ) -> None:
        """Print a script that completes commands in a shell."""
        from typer import completion as shells  # noqa: PLC0415  # not for other commands

        from ugsd_privacy.output.terminal import print_document  # noqa: PLC0415  # it imports this

        script = shells.get_completion_script(  # type: ignore[attr-defined]
            prog_name=program, complete_var=_variable(program), shell=shell.value
        )
        print_document(f"{script}\n")


def prepare_completion(program: str) -> None:
    """Let the program answer if a shell runs it to complete its arguments."""
    if _variable(program) in os.environ:
        from typer import completion as shells  # noqa: PLC0415  # only then

        shells.completion_init()  # type: ignore[attr-defined]


def _variable(program: str) -> str:
    """Return the variable by which a shell asks; typer derives the same."""
    return f"_{program}_COMPLETE".replace("-", "_").upper()
