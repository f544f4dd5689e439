"""The device's pitch agrees with another tracker on recorded speech."""

from __future__ import annotations

import numpy as np
from ugsd_lab.data.corpora import load_corpora, read_samples
from ugsd_lab.data.prosody import measure
from ugsd_lab.data.speech import measure_prosody


def test_median_pitch_agrees_with_pyin() -> None:
    clips = load_corpora(None)[::60]
    off = []
    for clip in clips:
        samples = read_samples(clip)
        device = measure_prosody(samples)
        assert device is not None
        assert device.pitch_st is not None
        off.append(abs(device.pitch_st - measure(samples, None).pitch_st))
    assert np.median(off) < 0.5
    assert np.count_nonzero(np.array(off) < 1) >= 0.7 * len(clips)
