"""Owns the single call from a video to its sound: envelope, conditions, generation."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from tqdm import tqdm

from common.devices import pick_device
from common.errors import InputError, check_seed
from common.stopwatch import Stopwatch
from hits.level import Hits
from media.clip import count_at_rate
from media.stored import PART_SAMPLES, Sound, StoredSound, like, parts
from stable_foley.checkpoint import BUNDLED
from stable_foley.generator import SoundGenerator
from stable_foley.sampler import SamplerSettings
from video2audio.finish import finish
from video2audio.inputs import Inputs, read_inputs
from video2audio.record import fingerprint, settings_record
from video2audio.request import FoleyRequest
from video2audio.result import FoleyResult
from video2audio.samples import Recording, SampleLibrary
from video2audio.unfinished import Unfinished
from video2rms.model import Video2Rms
from video2rms.predict import BUNDLED_VIDEO2RMS, load_video2rms

log = logging.getLogger(__name__)

MOST_WINDOWS_IN_MEMORY = 6
"""Windows of a sound, about a minute, from which on it is kept on disk."""
LONG_S = 60.0
"""Duration from which on a sound of recordings alone is kept on disk."""
RECORDINGS_RATE_HZ = 44_100
"""Sample rate of results for which nothing is generated, unless another one is asked for."""


class FoleyPipeline:
    """Puts sound on videos.

        pipeline = FoleyPipeline.from_checkpoint()
        result = pipeline("video.mp4", prompt="hitting metal", seed=1)
        result.save("outputs")

    Args:
        generator: generates sound that follows an envelope; None: recordings can be played, see
            ``FoleyRequest.sampler_dir``, but nothing is generated.
        video2rms: predicts envelopes from the picture; None: envelopes must be given.
        origin: description of the models, for ``FoleyResult.origin``.
    """

    def __init__(
        self,
        generator: SoundGenerator | None,
        video2rms: Video2Rms[Any] | None,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        self.generator = generator
        self.video2rms = video2rms
        self.origin = dict(origin or {})

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: str | Path | None = BUNDLED,
        video2rms: str | Path | None = BUNDLED_VIDEO2RMS,
        device: str | None = None,
        dtype: str = "float32",
        overrides: Sequence[str] = (),
    ) -> Self:
        """Load both models; their checkpoints contain their configurations.

        Args:
            checkpoint: checkpoint of the Foley model, by default the bundled one; None: random weights, see
                ``stable_foley.checkpoint.load_model``.
            video2rms: checkpoint of Video2RMS, by default the bundled one; None: envelopes must be given.
            device: ``cuda``, ``mps``, ``cpu``; None: the first available of these.
            dtype: precision of the transformer and its control branch, one of ``SAMPLING_DTYPES``.
            overrides: changes to the configuration of the Foley model, ``key.sub=value``.

        Raises:
            InputError: a file, an override or the device cannot be used.
        """
        predictor = _predictor(video2rms, device)
        generator = SoundGenerator.from_checkpoint(checkpoint, device, dtype, overrides)
        origin = {**_weights(checkpoint, video2rms), "device": str(generator.device), "dtype": dtype}
        return cls(generator, predictor, origin | {"set": list(overrides)})

    @classmethod
    def of_recordings(cls, video2rms: str | Path | None = BUNDLED_VIDEO2RMS, device: str | None = None) -> Self:
        """Load only what predicts envelopes, to play recordings at their hits.

        Args:
            video2rms: checkpoint of Video2RMS, by default the bundled one; None: envelopes must be given.
            device: as in ``from_checkpoint``.

        Raises:
            InputError: the file or the device cannot be used.
        """
        return cls(None, _predictor(video2rms, device), _weights(None, video2rms))

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of sounds for which no other one is asked for."""
        return RECORDINGS_RATE_HZ if self.generator is None else self.generator.sample_rate_hz

    def __call__(self, video: str | Path, *, seed: int = 0, progress: bool = False, **options: Any) -> FoleyResult:
        """Generate one sound for a video.

        Args:
            video: video file, folder of a clip in the processed layout, or image files, see ``FoleyRequest``.
            seed: seed of the noise, 0 to 2**32 - 1.
            progress: whether to show progress bars.
            **options: attributes of ``FoleyRequest``, such as ``prompt``, ``envelope``, ``start_s``, ``duration_s``.

        Raises:
            InputError: an option or a file cannot be used.
        """
        request = FoleyRequest(Path(video), **options)
        request.check()
        return next(self.results(request, [seed], progress=progress))

    def results(
        self,
        request: FoleyRequest,
        seeds: Sequence[int],
        *,
        progress: bool = False,
        watch: Stopwatch | None = None,
        folder: Path | None = None,
    ) -> Iterator[FoleyResult]:
        """Generate one sound for each seed; all inputs are read once.

        Sounds of more than six windows are kept on disk, so that memory does not grow with their length.

        Args:
            request: the request, checked.
            seeds: seeds of the noise.
            progress: whether to show progress bars.
            watch: records the durations of the stages.
            folder: keeps a long sound until the results are taken; an interrupted run with the same settings goes on
                from there. None: a temporary folder.

        Yields:
            A result for each seed.

        Raises:
            InputError: an option or a file cannot be used.
        """
        for seed in seeds:
            check_seed(seed, "seed")
        watch = watch or Stopwatch()
        generator = self._generator(request)
        unfinished = Unfinished(folder) if self._is_long(request) else None
        if unfinished:
            unfinished.begin({key: value for key, value in self.record(request, 0).items() if key != "seed"})
        inputs = read_inputs(request, generator, self.video2rms, progress=progress, watch=watch, unfinished=unfinished)
        rate_hz = self._rate_hz(request)
        library = None
        if request.sampler_dir is not None:
            with watch.stage("recordings"):
                library = SampleLibrary.read(request.sampler_dir, rate_hz)
        for seed in seeds:
            if generator is None:
                sound = _silence(count_at_rate(request.section.duration_s, rate_hz), on_disk=unfinished is not None)
            else:
                sound = self._generated(generator, request, inputs, seed, unfinished, progress=progress, watch=watch)
            played: tuple[tuple[float, str], ...] = ()
            if library is not None and inputs.hits is not None:
                recordings = library.choose(inputs.hits.rms.tolist(), seed)
                gain = 10 ** ((request.sampler_gain_db or 0.0) / 20)
                sound = like(sound, _with_recordings(sound, library, inputs.hits, recordings, gain))
                played = tuple(zip(inputs.hits.times_s.tolist(), [str(each.path) for each in recordings], strict=True))
            yield FoleyResult(
                request=request,
                finished=finish(sound, rate_hz, request),
                envelope=inputs.envelope,
                onsets_s=inputs.onsets_s,
                seed=seed,
                settings=self.settings(request),
                timings_s=dict(watch.stage_s),
                origin=self.origin,
                played=played,
            )
        if unfinished:
            unfinished.remove()

    def _generated(
        self,
        generator: SoundGenerator,
        request: FoleyRequest,
        inputs: Inputs,
        seed: int,
        unfinished: Unfinished | None,
        *,
        progress: bool,
        watch: Stopwatch,
    ) -> Sound:
        """Generate the sound (C, N) of a section, or go on with it."""
        name = f"seed-{seed}"
        state = unfinished.load(name) if unfinished else {}
        pieces = generator.stream(
            inputs.control,
            request.section.duration_s,
            frames=inputs.frames,
            prompts=inputs.prompts,
            settings=self.settings(request),
            seed=seed,
            control_strength=request.control_strength,
            progress=partial(tqdm, desc=f"seed {seed}", unit="step", disable=not progress),
            watch=watch,
            state=state or None,
        )
        if unfinished is None:
            return torch.cat([piece.sound for piece in pieces], dim=-1)
        stored = unfinished.sound(name, generator.spec.n_channels, state)
        if state:
            done_s = stored.shape[1] / generator.sample_rate_hz
            log.info("seed %d goes on at %.0f of %.0f s", seed, done_s, request.section.duration_s)
        for piece in pieces:
            stored.append(piece.sound)
            if piece.state:
                unfinished.save(name, piece.state, stored.rows)
        return stored

    def _is_long(self, request: FoleyRequest) -> bool:
        """Return whether a sound is kept on disk."""
        duration_s = request.section.duration_s
        if self.generator is None:
            return duration_s > LONG_S
        n_samples = count_at_rate(duration_s, self.generator.sample_rate_hz)
        return len(self.generator.window_starts(n_samples)) > MOST_WINDOWS_IN_MEMORY

    def _generator(self, request: FoleyRequest) -> SoundGenerator | None:
        """Return what generates the sound of a request; None if recordings alone are played."""
        if not request.is_generated:
            return None
        if self.generator is None:
            raise InputError(f"no model is loaded that generates sound for {request.video}: give a sampler_dir alone")
        return self.generator

    def _rate_hz(self, request: FoleyRequest) -> int:
        """Return the sample rate at which a sound is made; recordings alone are played at that of the result."""
        return self.sample_rate_hz if request.is_generated else request.sample_rate_hz or self.sample_rate_hz

    def record(self, request: FoleyRequest, seed: int) -> dict[str, Any]:
        """Return what the sound of a request depends on, see ``video2audio.record.settings_record``."""
        rate_hz = request.sample_rate_hz or self.sample_rate_hz
        return settings_record(request, seed, self.settings(request), rate_hz, self.origin)

    def settings(self, request: FoleyRequest) -> SamplerSettings | None:
        """Return the settings of the sampler for a request, the checkpoint's with its changes; None: none is used."""
        generator = self._generator(request)
        return None if generator is None else generator.settings.changed(**request.sampler_changes)


def _silence(n_samples: int, *, on_disk: bool) -> Sound:
    """Return silence (2, N)."""
    silence = torch.zeros(2, 1).expand(-1, n_samples)
    return StoredSound.of(parts(silence)) if on_disk else silence


def _with_recordings(
    sound: Sound, library: SampleLibrary, hits: Hits, chosen: Sequence[Recording], gain: float
) -> Iterator[Tensor]:
    """Yield parts (2, n) of a sound with recordings at hits."""
    for number, part in enumerate(parts(sound)):
        yield part + gain * library.play(hits, chosen, part.shape[1], first_sample=number * PART_SAMPLES)


def _predictor(checkpoint: str | Path | None, device: str | None) -> Video2Rms[Any] | None:
    return None if checkpoint is None else load_video2rms(Path(checkpoint), pick_device(device))


def _weights(checkpoint: str | Path | None, video2rms: str | Path | None) -> dict[str, Any]:
    """Return the files of the models, with their fingerprints."""
    weights = {"checkpoint": checkpoint, "video2rms": video2rms}
    return {**weights, "models": {name: fingerprint(Path(path)) for name, path in weights.items() if path is not None}}
