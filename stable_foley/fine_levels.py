"""When within a frame a sound is loud: levels of 16 broad bands every 4.4 ms, relative to those of long frames.

Shapes: B batch, N samples, L latent steps of 1536 samples, S slots (8 per step).
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torchaudio.functional import create_dct, melscale_fbanks

_N_FFT = 256
_HOP = 64
_FRAMES_PER_SLOT = 3
_N_BANDS = 16
_SLOTS_PER_STEP = 8
_N_ORDERS = 8  # of the cosines over the bands
_LONG_FRAME = 2048
_FLOOR = 1e-7  # power of a band, that of white noise at -79 dB of full scale
_LOWEST, _HIGHEST = -4.0, 2.0  # natural log of amplitude relative to the long frame
_LARGEST_STEP = 3.0  # natural log of the gain of one correction
_SPREAD = 2.2, 0.6
_SPREAD_OF_SHAPE = 0.8, 0.5, 0.3
"""Divisors: of order 0 over bands, the first and the exponent with which it falls over the slots' orders; of the other
orders, the first and the exponents over the bands' and the slots' orders. They are about the 3/4 power of the standard
deviation over synthetic strikes."""


class FineLevels(nn.Module):
    """The short-time part of a latent: 64 channels a step, the cosine transform of 8 slots of 16 bands.

    A level is the log amplitude of a band in a slot, minus that in the long frame around it, which the other part of
    the latent holds already. It is 0 in silence, and above the floor the gain does not change it. Channel c holds order
    c // 8 over bands and c % 8 over the slots of a step; the eight highest orders over bands are left out.
    """

    n_channels = _N_ORDERS * _SLOTS_PER_STEP
    slots_per_step = _SLOTS_PER_STEP
    samples_per_slot = _HOP * _FRAMES_PER_SLOT

    window: Tensor
    bands: Tensor
    cosines: Tensor
    long_window: Tensor
    spread: Tensor

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        window = torch.hann_window(_N_FFT)
        bands = melscale_fbanks(_N_FFT // 2 + 1, 0.0, sample_rate_hz / 2, _N_BANDS, sample_rate_hz, mel_scale="htk")
        over_bands = create_dct(_N_ORDERS, _N_BANDS, norm="ortho").T  # (order, band)
        over_slots = create_dct(_SLOTS_PER_STEP, _SLOTS_PER_STEP, norm="ortho").T
        # what a long frame shows of the power at each slot
        n_around = _LONG_FRAME // self.samples_per_slot // 2 * 2 + 1
        long_window = torch.hann_window(n_around + 2, periodic=False)[1:-1].square()
        self.register_buffer("window", window / window.square().sum().sqrt(), persistent=False)
        self.register_buffer("bands", bands.T.contiguous(), persistent=False)  # (16, 129)
        self.register_buffer("cosines", torch.kron(over_bands, over_slots), persistent=False)  # (64, 128)
        self.register_buffer("long_window", (long_window / long_window.sum())[None, None], persistent=False)
        over_time = torch.arange(1, _SLOTS_PER_STEP + 1)
        common = _SPREAD[0] * over_time ** -_SPREAD[1]
        first, over_orders, over_times = _SPREAD_OF_SHAPE
        shape = first * torch.arange(1, _N_ORDERS)[:, None] ** -over_orders * over_time**-over_times
        self.register_buffer("spread", torch.cat((common[None], shape)).view(-1, 1), persistent=False)

    def encode(self, padded: Tensor) -> Tensor:
        """Return the channels (B, 64, L) of sound (B, 1536 L + 512), which has 256 more samples at either end."""
        levels = self._relative(self._slots(self._power(self._stft(padded)))).clamp(_LOWEST, _HIGHEST)
        return self.cosines @ rearrange(levels, "b f (l t) -> b (f t) l", t=_SLOTS_PER_STEP) / self.spread

    def levels(self, channels: Tensor) -> Tensor:
        """Return the relative levels (B, 16, S) that channels (B, 64, L) stand for."""
        levels = self.cosines.T @ (channels * self.spread)
        return rearrange(levels, "b (f t) l -> b f (l t)", t=_SLOTS_PER_STEP).clamp(_LOWEST, _HIGHEST)

    def impose(self, padded: Tensor, levels: Tensor) -> Tensor:
        """Return sound (B, 1536 L + 512) with these relative levels (B, 16, S), as far as one correction goes."""
        spectrum = self._stft(padded)
        gain = (levels - self._relative(self._slots(self._power(spectrum)))).clamp(-_LARGEST_STEP, _LARGEST_STEP)
        gain = F.pad(gain.repeat_interleave(_FRAMES_PER_SLOT, dim=-1), (4, 4))
        gain = F.avg_pool1d(gain, _FRAMES_PER_SLOT, stride=1, padding=1, count_include_pad=False)
        corrected = spectrum * (self.bands.T @ gain).exp()
        rest = torch.istft(corrected, _N_FFT, _HOP, window=self.window, length=padded.shape[-1] - _HOP // 2)
        return torch.cat((padded[:, : _HOP // 2], rest), dim=1)

    def _stft(self, padded: Tensor) -> Tensor:
        """Frame 4 + 24 i + k is centred on sample 1536 i + 64 k + 32 of the sound without padding."""
        shifted = padded[:, _HOP // 2 :]
        return torch.stft(shifted, _N_FFT, _HOP, window=self.window, pad_mode="constant", return_complex=True)

    def _power(self, spectrum: Tensor) -> Tensor:
        return self.bands @ spectrum[..., 4:-4].abs().square()

    def _slots(self, power: Tensor) -> Tensor:
        return rearrange(power, "b f (s t) -> b f s t", t=_FRAMES_PER_SLOT).mean(dim=-1)

    def _relative(self, power: Tensor) -> Tensor:
        around = F.conv1d(power.flatten(0, 1)[:, None], self.long_window, padding="same").view(power.shape)
        return ((power + _FLOOR) / (around + _FLOOR)).log() / 2
