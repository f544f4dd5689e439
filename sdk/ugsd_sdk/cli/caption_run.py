"""One run of ``ugsd caption``: clips are captioned and written, with progress, until all are done
or something ends it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ugsd_privacy.output.terminal import print_error

from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.audio.samples import Clip
from ugsd_sdk.caption import Caption, escaped_path
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli.caption_outputs import Output
from ugsd_sdk.cli.caption_work import captioned
from ugsd_sdk.cli.clip_inputs import ClipInput, raw_samples, standard_input
from ugsd_sdk.cli.interruption import TERMINATED
from ugsd_sdk.cli.progress import progress_bar
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.settings.config import ANONYMOUS, Settings

__all__ = ["CaptionRun", "profile_at"]


@dataclass(frozen=True)
class CaptionRun:
    """What clips are captioned with."""

    drafter: str
    settings: Settings
    profile_file: Path | None
    user_of: Callable[[ClipInput], str | None]
    """The user of a clip; ``None`` for the user of the settings."""
    length: CaptionLength | None
    seed: int | None
    raw: int | None
    """The sample rate in Hz of clips that are mono samples without a header."""
    jobs: int

    def caption_all(
        self,
        clips: Sequence[ClipInput],
        output: Output,
        report: Callable[[str, str], None],
        connect: Callable[[Captioner, Settings, str | None], bool],
    ) -> None:
        """Write the caption of every clip. ``report`` gets the path and the fault of those that
        have none; ``connect`` waits for the verifier of a user, before their first clip, and
        returns whether it can be waited for again."""
        done = 0
        waiting = {self.user_of(clip) for clip in clips}
        try:
            with (
                profile_at(self.profile_file) as profile,
                Captioner(self.drafter, config=self.settings) as captioner,
                _progress(len(clips), is_written=output.is_file) as advance,
            ):

                def wait_for(user: str | None) -> None:
                    if user in waiting:
                        waiting.discard(user)
                        if not connect(captioner, self.settings, user):
                            waiting.clear()

                def caption(clip: ClipInput) -> Caption:
                    wait_for(self.user_of(clip))
                    return self._caption(captioner, profile, clip)

                wait_for(None)  # clips of nobody may be captioned side by side
                results = captioned(
                    clips,
                    caption,
                    jobs=self.jobs,
                    speaker=self._speaker,
                )
                with closing(results):
                    for clip, result in results:
                        if isinstance(result, Caption):
                            output.write(clip, result)
                        else:
                            text = str(result).removeprefix(f"{clip.path!r} ")
                            report(clip.path, text)
                            output.fail(clip, result)
                        done += 1
                        advance(done)
        except (KeyboardInterrupt, SystemExit) as ended:
            if isinstance(ended, SystemExit) and ended.code != TERMINATED:
                raise  # nobody reads the captions any more
            kept = f"; to continue, {output.remedy}" if output.remedy else ""
            print_error("ugsd", f"ended after {done} of {len(clips)} clips{kept}")
            raise

    def _caption(self, captioner: Captioner, profile: Profile | None, clip: ClipInput) -> Caption:
        if self.raw is not None:
            source: Clip = raw_samples(clip, self.raw)
        else:
            source = standard_input() if clip.is_stdin else clip.path
        caption = captioner.caption(
            source, self.raw, profile=profile, length=self.length, seed=self.seed,
            user=self.user_of(clip),
        )  # fmt: skip
        if caption.path is not None:
            return caption
        return caption.model_copy(update={"path": escaped_path(clip.path)})

    def _speaker(self, clip: ClipInput) -> str | None:
        named = self.user_of(clip)
        is_one = self.profile_file is not None or self.settings.user != ANONYMOUS
        return named if named is not None or not is_one else self.settings.user


@contextmanager
def profile_at(path: Path | None) -> Iterator[Profile | None]:
    """Yield the profile in a file, a new one if the file is missing; save what it learned."""
    profile = None if path is None else Profile.load(path) if path.exists() else Profile()
    try:
        yield profile
    finally:
        if profile is not None and profile.num_clips:
            profile.save(path)


@contextmanager
def _progress(total: int, *, is_written: bool) -> Iterator[Callable[[int], None]]:
    """Show how many clips are done, unless the captions themselves show it on the terminal."""
    if total == 1 or (not is_written and sys.stdout.isatty()):
        yield lambda done: None
        return
    with progress_bar("captions") as show:
        show(0, total)
        yield lambda done: show(done, total)
