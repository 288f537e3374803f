"""Owns the single call from a video to its sound: envelope, conditions, generation."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from tqdm import tqdm

from common.devices import pick_device
from common.errors import check_seed
from common.stopwatch import Stopwatch
from media.stored import Sound
from stable_foley.checkpoint import BUNDLED
from stable_foley.generator import SoundGenerator
from stable_foley.sampler import SamplerSettings
from video2audio.finish import finish
from video2audio.inputs import Inputs, read_inputs
from video2audio.record import fingerprint, settings_record
from video2audio.request import FoleyRequest
from video2audio.result import FoleyResult
from video2audio.unfinished import Unfinished
from video2rms.model import Video2Rms
from video2rms.predict import BUNDLED_VIDEO2RMS, load_video2rms

log = logging.getLogger(__name__)

MOST_WINDOWS_IN_MEMORY = 6
"""Windows of a sound, about a minute, from which on it is kept on disk."""


class FoleyPipeline:
    """Puts sound on videos.

        pipeline = FoleyPipeline.from_checkpoint()
        result = pipeline("video.mp4", prompt="hitting metal", seed=1)
        result.save("outputs")

    Args:
        generator: generates sound that follows an envelope.
        video2rms: predicts envelopes from the picture; None: envelopes must be given.
        origin: description of the models, for ``FoleyResult.origin``.
    """

    def __init__(
        self, generator: SoundGenerator, video2rms: Video2Rms[Any] | None, origin: Mapping[str, Any] | None = None
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
            dtype: precision of the transformer and its control branch: ``float32``, ``bfloat16`` or ``float16``.
            overrides: changes to the configuration of the Foley model, ``key.sub=value``.

        Raises:
            InputError: a file, an override or the device cannot be used.
        """
        predictor = None if video2rms is None else load_video2rms(Path(video2rms), pick_device(device))
        generator = SoundGenerator.from_checkpoint(checkpoint, device, dtype, overrides)
        weights = {"checkpoint": checkpoint, "video2rms": video2rms}
        fingerprints = {name: fingerprint(Path(path)) for name, path in weights.items() if path is not None}
        origin = {**weights, "device": str(generator.device), "dtype": dtype}
        return cls(generator, predictor, origin | {"set": list(overrides), "models": fingerprints})

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
        settings = self.settings(request)
        n_windows = len(self.generator.window_starts(round(request.section.duration_s * self.generator.sample_rate_hz)))
        unfinished = Unfinished(folder) if n_windows > MOST_WINDOWS_IN_MEMORY else None
        if unfinished:
            unfinished.begin({key: value for key, value in self.record(request, 0).items() if key != "seed"})
        inputs = read_inputs(
            request, self.generator, self.video2rms, progress=progress, watch=watch, unfinished=unfinished
        )
        for seed in seeds:
            generated = self._generate(request, inputs, seed, unfinished, progress=progress, watch=watch)
            yield FoleyResult(
                request=request,
                finished=finish(generated, self.generator.sample_rate_hz, request),
                envelope=inputs.envelope,
                onsets_s=inputs.onsets_s,
                seed=seed,
                settings=settings,
                timings_s=dict(watch.stage_s),
                origin=self.origin,
            )
        if unfinished:
            unfinished.remove()

    def _generate(
        self,
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
        pieces = self.generator.stream(
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
        stored = unfinished.sound(name, self.generator.spec.n_channels, state)
        if state:
            done_s = stored.shape[1] / self.generator.sample_rate_hz
            log.info("seed %d goes on at %.0f of %.0f s", seed, done_s, request.section.duration_s)
        for piece in pieces:
            stored.append(piece.sound)
            if piece.state:
                unfinished.save(name, piece.state, stored.rows)
        return stored

    def record(self, request: FoleyRequest, seed: int) -> dict[str, Any]:
        """Return what the sound of a request depends on, see ``video2audio.record.settings_record``."""
        rate_hz = request.sample_rate_hz or self.generator.sample_rate_hz
        return settings_record(request, seed, self.settings(request), rate_hz, self.origin)

    def settings(self, request: FoleyRequest) -> SamplerSettings:
        """Return the settings of the sampler for a request: the checkpoint's with its changes."""
        return self.generator.settings.changed(**request.sampler_changes)
