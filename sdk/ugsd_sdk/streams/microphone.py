"""A microphone as the source of a stream, read by ``sounddevice``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ugsd_sdk.errors import MicrophoneUnavailable
from ugsd_sdk.streams.chunks import AudioChunk

__all__ = ["Microphone"]

_CHUNK_S = 0.02


class Microphone:
    """The default microphone, or the one with the number or the name ``device``, as
    ``python -m sounddevice`` lists them.

    It is opened with the first event of its stream and closed at the stream's end. Needs the extra
    ``microphone``.
    """

    def __init__(self, device: int | str | None = None) -> None:
        self._device = device

    def start(
        self, deliver: Callable[[AudioChunk], None], end: Callable[[Exception | None], None]
    ) -> Callable[[], None]:
        """Open the microphone and ``deliver`` its sound until the returned function is called.

        Raises :class:`MicrophoneUnavailable`.
        """
        sounddevice = _sounddevice()
        try:
            found = sounddevice.query_devices(self._device, "input")
            recording = _Recording(int(found["default_samplerate"]), deliver, end)
            stream = sounddevice.InputStream(
                device=self._device, channels=1, dtype="float32", samplerate=recording.rate,
                blocksize=round(_CHUNK_S * recording.rate), callback=recording.add,
                finished_callback=recording.finish,
            )  # fmt: skip
            stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            raise MicrophoneUnavailable(
                "the microphone cannot be opened: connect one, allow this program to use it, or "
                "choose one of those that `python -m sounddevice` lists"
            ) from error

        def stop() -> None:
            recording.is_stopped = True
            stream.close()

        return stop


class _Recording:
    """Gives each chunk the time at which it was recorded; PortAudio says when some were lost."""

    def __init__(
        self,
        rate: int,
        deliver: Callable[[AudioChunk], None],
        end: Callable[[Exception | None], None],
    ) -> None:
        self.rate = rate
        self.is_stopped = False
        self._deliver = deliver
        self._end = end
        self._start_s = 0.0
        self._first_s: float | None = None

    def add(self, samples: Any, num_frames: int, time: Any, status: Any) -> None:
        """Deliver ``samples`` (n, 1), which belong to PortAudio. Its thread calls this."""
        recorded_s = float(time.inputBufferAdcTime)
        if self._first_s is None:
            self._first_s = recorded_s
        if status.input_overflow:
            self._start_s = max(self._start_s, recorded_s - self._first_s)
        self._deliver(AudioChunk(samples[:, 0].copy(), self.rate, self._start_s))
        self._start_s += num_frames / self.rate

    def finish(self) -> None:
        """End the stream, by an error if it was not stopped from here."""
        self._end(
            None
            if self.is_stopped
            else MicrophoneUnavailable("the microphone stopped: connect it again")
        )


def _sounddevice() -> Any:
    try:
        import sounddevice  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise MicrophoneUnavailable(
            "a microphone is read with sounddevice: `pip install ugsd[microphone]`"
        ) from error
    except OSError as error:
        raise MicrophoneUnavailable(
            "sounddevice finds no PortAudio: install it, for example by `apt install "
            "libportaudio2` or `brew install portaudio`"
        ) from error
    return sounddevice
