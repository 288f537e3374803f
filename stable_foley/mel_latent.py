"""The latent of the small model: mel cepstra and fine levels, with the interface of the Stable Audio Open VAE.

Owns the choice of bands, range and normalisation, and the reconstruction of sound: Griffin-Lim with exact mel power and
fine levels.

Shapes: B batch, C channels, N samples, L latent steps, F frequency bins, T frames (3 per latent step, 1 at either end).
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torchaudio.functional import create_dct, melscale_fbanks

from stable_foley.fine_levels import FineLevels
from stable_foley.rhythm import steady_steps, without_rhythm

_N_FFT = 2048
_HOP = 512
_N_BANDS = 80
_N_FRAMES = 3  # per latent step
_LOG_FLOOR = -10.0  # natural log of amplitude; all 80 bands at this floor together are noise at -98 dB of full scale
_LOG_CEILING = 4.0  # a full-scale sine reaches 3
_LOG_MEAN = -8.75  # over clips of strikes, most of which is silence
_SPREAD = ((6.4, 0.75), (1.6, 0.6), (0.8, 0.5))
"""Divisors of the cepstrum for the orders 0, 1, 2 in time: the divisor at order 0 in frequency, and the exponent p with
which it falls, as (order + 1) ** -p. They are about the 3/4 power of the standard deviation over such clips."""
_SILENCE_MARGIN = 1e-4  # rounding of the transforms
_TINY = 1e-20

_MOMENTUM = 0.9
_N_SMOOTH_ITERATIONS = 4  # with magnitudes as smooth as the bands; later iterations impose only the mel power
_N_FIT_ITERATIONS = 10
_WINDOW_VARIANCE = (0.13 * _N_FFT) ** 2  # samples squared, of the Gaussian nearest to a Hann window
_COHERENT_RISE = (
    0.1,
    0.3,
)  # change of log amplitude per frame at which the starting phase begins to be, and is fully, that of a click


class MelLatent(nn.Module):
    """Two resolutions, no weights: log-mel amplitudes of long frames as a cepstrum, and levels of short ones.

    A long frame (46 ms) tells partials apart, but not when within it a hit begins; short ones (6 ms) tell that.

    The cepstrum (cosine transform over the bands and over the three frames of a step) separates level, timbre and
    change. Its values are divided by a power of their spread over strikes, so that noise covers all of them at similar
    levels. If the bands themselves were modelled, their common level would remain visible through noise that has long
    covered the differences between materials, and remaining noise would be audible as a rough texture.

    Channel c below 240 holds order c // 3 in frequency and c % 3 in time; `FineLevels` owns the other 64. Multiplying a
    sound by g adds ln(g) · sqrt(240) / 6.4 to channel 0 and changes no other, except at floor and ceiling. Stereo is
    averaged in encoding and duplicated in decoding.

    Args:
        n_iterations: Iterations of phase reconstruction, at least 1; more are more accurate and slower.

    Raises:
        ValueError: n_iterations is below 1.
    """

    n_latent_channels = _N_BANDS * _N_FRAMES + FineLevels.n_channels
    samples_per_step = _HOP * _N_FRAMES
    sample_rate_hz = 44_100
    n_audio_channels = 2

    window: Tensor
    bands: Tensor
    cosines: Tensor
    spread: Tensor

    def __init__(self, n_iterations: int = 24) -> None:
        super().__init__()
        if n_iterations < 1:
            raise ValueError(f"n_iterations is {n_iterations}; at least 1 is needed")
        self.n_iterations = n_iterations
        self.fine = FineLevels(self.sample_rate_hz)
        bands = melscale_fbanks(
            _N_FFT // 2 + 1,
            f_min=0.0,
            f_max=self.sample_rate_hz / 2,
            n_mels=_N_BANDS,
            sample_rate=self.sample_rate_hz,
            mel_scale="slaney",
        )
        window = torch.hann_window(_N_FFT)
        over_bands = create_dct(_N_BANDS, _N_BANDS, norm="ortho").T  # (order, band)
        over_frames = create_dct(_N_FRAMES, _N_FRAMES, norm="ortho").T
        order = torch.arange(1, _N_BANDS + 1)
        spread = torch.stack([first * order**-power for first, power in _SPREAD], dim=1)  # (order, order in time)
        self.register_buffer("bands", bands.T.contiguous(), persistent=False)  # (80, F)
        self.register_buffer("window", window / window.square().sum().sqrt(), persistent=False)
        self.register_buffer("cosines", torch.kron(over_bands, over_frames), persistent=False)  # orthonormal (240, 240)
        self.register_buffer("spread", spread.reshape(-1, 1), persistent=False)  # (240, 1)

    @property
    def loss_weights(self) -> Tensor:
        """Weights (304, 1) of errors: half of the way, in decibels, back to errors of the log-mel amplitudes.

        Without weights, the few channels that distinguish materials would be a hundredth of the loss.
        """
        spread = torch.cat((self.spread, self.fine.spread))
        return spread / spread.mean()

    def parameters_of(self, wave: Tensor) -> Tensor:
        """Return the latents (B, 304, L) of sound (B, C, N): this transform is deterministic."""
        return self.encode(wave)

    def draw(self, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return latents (B, 304, L) unchanged; a VAE with the same interface draws from the generator."""
        return parameters

    @torch.no_grad()
    def encode(self, wave: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Convert sound to latents; the frames of step i are centred on samples 1536 i + 256, + 768 and + 1280.

        Args:
            wave: (B, C, N) float32, full scale ±1, at 44.1 kHz, N at least 1; zero-padded at its end to whole steps.
            generator: Unused.

        Returns:
            (B, 304, L) float32 with L = ceil(N / 1536).

        Raises:
            ValueError: wave is not (B, C, N) or has no samples.
        """
        if wave.ndim != 3 or wave.numel() == 0:
            raise ValueError(f"wave has shape {tuple(wave.shape)}; (B, C, N) with at least one sample is needed")
        mono = wave.float().mean(dim=1)
        mono = F.pad(mono, (_HOP // 2, -mono.shape[-1] % self.samples_per_step + _HOP // 2))
        with torch.autocast(wave.device.type, enabled=False):
            power = self.bands @ self._stft(mono).abs().square()
            log_amplitude = power[..., 1:-1].clamp(min=_TINY).log() / 2
            values = log_amplitude.clamp(min=_LOG_FLOOR) - _LOG_MEAN
            cepstrum = self.cosines @ rearrange(values, "b f (l t) -> b (f t) l", t=_N_FRAMES) / self.spread
            return torch.cat((cepstrum, self.fine.encode(mono)), dim=1)

    def settle(self, latent: Tensor, level: Tensor) -> Tensor:
        """Return latents (B, 304, L) without the rhythm of their steps where a level (B, N) is steady."""
        on_cpu = latent.cpu()  # not every device has medians
        parts = on_cpu.split((_N_BANDS * _N_FRAMES, FineLevels.n_channels), dim=1)
        steady = steady_steps(level.cpu()[:, : self.samples_per_step * latent.shape[-1]], self.samples_per_step)
        settled = [
            without_rhythm(part * spread.cpu(), per_step, steady) / spread.cpu()
            for part, spread, per_step in zip(
                parts, (self.spread, self.fine.spread), (_N_FRAMES, FineLevels.slots_per_step), strict=True
            )
        ]
        return torch.cat(settled, dim=1).where(steady[:, None], on_cpu).to(latent.device)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Convert latents to sound; the result for a latent does not depend on the rest of the batch.

        Args:
            latent: (B, 304, L), L at least 1; bands at the floor (together -98 dB of full scale) become digital
                silence.

        Returns:
            (B, 2, 1536 L) float32, both channels equal; not limited to ±1.

        Raises:
            ValueError: latent is not (B, 304, L) or has no step.
        """
        if latent.ndim != 3 or latent.shape[1] != self.n_latent_channels or latent.numel() == 0:
            raise ValueError(f"latent has shape {tuple(latent.shape)}; (B, {self.n_latent_channels}, L) is needed")
        with torch.autocast(latent.device.type, enabled=False):
            cepstrum, fine = latent.float().split((_N_BANDS * _N_FRAMES, FineLevels.n_channels), dim=1)
            values = self.cosines.T @ (cepstrum * self.spread)
            log_amplitude = rearrange(values, "b (f t) l -> b f (l t)", t=_N_FRAMES) + _LOG_MEAN
            log_amplitude = F.pad(log_amplitude, (1, 1), mode="replicate").clamp(_LOG_FLOOR, _LOG_CEILING)
            power = (2 * log_amplitude).exp() * (log_amplitude > _LOG_FLOOR + _SILENCE_MARGIN)
            mono = self._reconstruct(power, self.fine.levels(fine))[:, _HOP // 2 : -_HOP // 2]
        return mono[:, None].repeat(1, self.n_audio_channels, 1)

    def _stft(self, mono: Tensor) -> Tensor:
        return torch.stft(mono, _N_FFT, _HOP, window=self.window, pad_mode="constant", return_complex=True)

    def _istft(self, spectrum: Tensor) -> Tensor:
        n_samples = (spectrum.shape[-1] - 1) * _HOP
        return torch.istft(spectrum, _N_FFT, _HOP, window=self.window, length=n_samples)

    def _reconstruct(self, power: Tensor, levels: Tensor) -> Tensor:
        """Find a sound (B, 512 (T - 1)) with these mel powers (B, 80, T) and fine levels by Griffin-Lim with momentum.

        The usual method imposes magnitudes as smooth as the mel bands. Noise does not have such magnitudes, so the
        method loses level. Here, after a few such iterations, each iteration keeps the fine structure that the sound
        has and imposes only the band powers; every other one also imposes the fine levels.

        Source: Perraudin, Balazs, Søndergaard 2013, A fast Griffin-Lim algorithm.
        """
        spread = (self.bands / self.bands.sum(dim=0).clamp(min=_TINY)).T @ power
        for _ in range(_N_FIT_ITERATIONS):
            spread = self._towards(power, spread)
        spectrum = torch.polar(spread.sqrt(), self._starting_phase(power))
        amplitude, previous = spread.sqrt(), None
        for i in range(self.n_iterations):
            wave = self._istft(spectrum)
            if i % 2 == 0:
                wave = self.fine.impose(wave, levels)
            consistent = self._stft(wave)
            ahead = consistent if previous is None else torch.lerp(previous, consistent, 1 + _MOMENTUM)
            previous, magnitude = consistent, ahead.abs()
            if i >= _N_SMOOTH_ITERATIONS:
                amplitude = self._towards(power, magnitude.square() + _TINY).sqrt()
            spectrum = ahead * (amplitude / magnitude.clamp(min=_TINY))
        return self._istft(spectrum)

    def _towards(self, power: Tensor, spread: Tensor) -> Tensor:
        """Move bin powers (B, F, T) one multiplicative step towards the mel powers (B, 80, T); they stay nonnegative.

        Source: Lee and Seung 2001, Algorithms for non-negative matrix factorization, divergence update.
        """
        ratio = power / (self.bands @ spread).clamp(min=_TINY)
        share = self.bands.T / self.bands.sum(dim=0).clamp(min=_TINY)[:, None]
        return spread * (share @ ratio)

    def _starting_phase(self, power: Tensor) -> Tensor:
        """Return phases (B, F, T): of a click where the level changes quickly, and of fixed noise where it is steady.

        The position of a click in its frame follows from the level's slope: seen through a Gaussian window of variance
        v, the log amplitude at distance d from a click changes by d / v per sample. Click phases everywhere would buzz
        at the frame rate in steady sound; noise phases everywhere would smear onsets over the window.

        Source: Průša, Balazs, Søndergaard 2017, A noniterative method for reconstruction of phase from STFT magnitude.
        """
        n_bins, n_frames = self.bands.shape[1], power.shape[-1]
        log_amplitude = power.sum(dim=1, keepdim=True).clamp(min=math.exp(2 * _LOG_FLOOR)).log() / 2
        rise = torch.gradient(log_amplitude, dim=-1)[0]
        delay_samples = (rise * _WINDOW_VARIANCE / _HOP).clamp(-_N_FFT / 2, _N_FFT / 2)
        frequency = torch.arange(n_bins, device=power.device)[:, None] * (2 * math.pi / _N_FFT)
        click = -frequency * (_N_FFT / 2 + delay_samples)
        start, full = _COHERENT_RISE
        steadiness = 1 - ((rise.abs() - start) / (full - start)).clamp(0, 1)
        noise = torch.rand(n_frames, n_bins, generator=torch.Generator().manual_seed(0)).T.to(power.device)
        return click + steadiness * (2 * math.pi) * noise
