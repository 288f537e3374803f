"""Noise of a recording taken away while it is read, in constant memory.

Source: T. Sainburg, noisereduce (spectral gating).
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

# multiples of the hop of 256 samples, so that the frames of all blocks lie on one grid
_BLOCK_SAMPLES = 2**19
_CONTEXT_SAMPLES = 2**14  # more than the mask of a frame is smoothed over
_PADDING_SAMPLES = 2**11
_FFT_SAMPLES = 1024
_HOP_SAMPLES = _FFT_SAMPLES // 4
# noisereduce's own 500 Hz and 50 ms take 3 dB off the attack of a hit, these 0.6 dB, for 2 dB more of the noise
_SMOOTH_HZ = 100.0
_SMOOTH_MS = 12.0
_LEAST = 1 + 1e-9  # bins and frames; noisereduce refuses less than one, and rounds down
_STEPS_PER_S = 20
_NOISE_STEPS = 6  # 0.3 s, which fits between hits


class Denoiser:
    """Takes stationary noise (microphone, room, wind) out of a sound that is given piece by piece.

    Spectral gating against one noise floor for the whole recording: in every channel, that of the quietest 0.3 s of the
    first 524,288 samples (12 s at 44.1 kHz). A floor that follows the sound over time, the other kind that noisereduce
    has, would take a long scratch or rustle for noise, and could not be cut into blocks: with one floor every block
    comes out as if the recording had been denoised as a whole. What is shorter than 0.3 s is left as it is.

    Args:
        sample_rate_hz: Samples a second, 8,000 to 192,000.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._noise: list[np.ndarray | None] = []  # of each channel
        self._before: np.ndarray | None = None  # (C, n), done already, context of what follows
        self._held: list[np.ndarray] = []
        self._n_held = 0

    def push(self, wave: np.ndarray) -> np.ndarray:
        """Take the next samples (C, n), float32, full scale ±1.

        Returns:
            The next denoised samples (C, m), m 0 or more: as many as were given so far, but for those still held.
        """
        self._held.append(wave)
        self._n_held += wave.shape[1]
        return self._ready(_BLOCK_SAMPLES + _CONTEXT_SAMPLES)

    def finish(self) -> np.ndarray:
        """Return the samples still held (C, m), denoised."""
        return self._ready(1)

    def _ready(self, least_samples: int) -> np.ndarray:
        """Denoise blocks while at least so many samples are held."""
        if self._n_held < least_samples:
            return np.zeros((len(self._held[0]) if self._held else 0, 0), np.float32)
        held = np.concatenate(self._held, axis=1)
        done = []
        while held.shape[1] >= least_samples:
            done.append(self._denoised(held))
            held = held[:, _BLOCK_SAMPLES:]
        self._held, self._n_held = [held], held.shape[1]
        return np.concatenate(done, axis=1)

    def _denoised(self, held: np.ndarray) -> np.ndarray:
        """Denoise the first block of what is held."""
        if self._before is None:
            self._noise = [_noise_of(channel[:_BLOCK_SAMPLES], self._sample_rate_hz) for channel in held]
            self._before = held[:, :0]
        block = np.concatenate([self._before, held[:, : _BLOCK_SAMPLES + _CONTEXT_SAMPLES]], axis=1)
        first, n_samples = self._before.shape[1], min(held.shape[1], _BLOCK_SAMPLES)
        self._before = held[:, n_samples - _CONTEXT_SAMPLES : n_samples] if n_samples == _BLOCK_SAMPLES else held[:, :0]
        channels = [self._gated(channel, noise) for channel, noise in zip(block, self._noise, strict=True)]
        return np.stack(channels)[:, first : first + n_samples]

    def _gated(self, channel: np.ndarray, noise: np.ndarray | None) -> np.ndarray:
        if noise is None:
            return channel
        import noisereduce  # type: ignore[import-untyped]  # here, since it takes a second and most runs do without

        gated: np.ndarray = noisereduce.reduce_noise(
            channel,
            self._sample_rate_hz,
            stationary=True,
            y_noise=noise,
            chunk_size=None,
            padding=_PADDING_SAMPLES,
            n_fft=_FFT_SAMPLES,
            freq_mask_smooth_hz=max(_SMOOTH_HZ, _LEAST * self._sample_rate_hz / (_FFT_SAMPLES / 2)),
            time_mask_smooth_ms=max(_SMOOTH_MS, _LEAST * 1000 * _HOP_SAMPLES / self._sample_rate_hz),
        )
        return gated


def _noise_of(channel: np.ndarray, sample_rate_hz: int) -> np.ndarray | None:
    """Return the stretch of a channel whose loudest step is the quietest; None where all hold digital silence."""
    step_samples = sample_rate_hz // _STEPS_PER_S
    steps = channel[: len(channel) // step_samples * step_samples].reshape(-1, step_samples)
    if len(steps) < _NOISE_STEPS:
        return None
    rms = sliding_window_view(np.sqrt(np.mean(np.square(steps, dtype=np.float64), axis=1)), _NOISE_STEPS)
    level = np.where(rms.min(axis=1) > 0, rms.max(axis=1), np.inf)
    if np.isinf(level.min()):
        return None
    first = int(level.argmin())
    return steps[first : first + _NOISE_STEPS].reshape(-1)
