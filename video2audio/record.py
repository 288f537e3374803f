"""What a result depends on, as NAME.json stores it: settings, models, and fingerprints of all input files."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from common.files import file_sha256
from media.images import find_images
from media.sound_part import SoundPart
from stable_foley.sampler import SamplerSettings
from video2audio.request import FoleyRequest

_PATHS = ("video", "checkpoint", "video2rms", "sampler_dir")


def settings_record(
    request: FoleyRequest, seed: int, settings: SamplerSettings | None, sample_rate_hz: int, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything that a sound depends on, known before it is generated, ready for JSON.

    Args:
        request: The request.
        seed: Seed of the noise.
        settings: Settings of the sampler; None if nothing is generated.
        sample_rate_hz: Sample rate of the result.
        origin: Description of the models and the device.
    """
    record = {
        "video": str(request.video.resolve()),
        "envelope": _named(request.envelope),
        "envelope_seed": request.envelope_seed,
        "prompt": request.prompt,
        "audio_prompts": [_named(prompt) for prompt in request.audio_prompts],
        "negative_prompt": request.negative_prompt,
        "start_s": request.section.start_s,
        "duration_s": request.section.duration_s,
        "control_strength": request.control_strength,
        "seed": seed,
        "sampler_settings": None if settings is None else asdict(settings),
        "sampler_dir": None if request.sampler_dir is None else str(request.sampler_dir.resolve()),
        "sampler_gain_db": request.sampler_gain_db,
        "peaks": request.peaks,
        "keep_sound": request.keep_sound,
        "loudness_lufs": request.loudness_lufs,
        "sample_rate_hz": sample_rate_hz,
        "frame_rate_hz": request.frame_rate_hz,
        "codec": request.codec,
        "quality": request.quality,
        "fingerprints": [fingerprint(path) for path in request.files],
        **(origin if request.envelope is None else {**origin, "video2rms": None}),
        "torch": torch.__version__,
    }
    plain: dict[str, Any] = json.loads(json.dumps(record, default=str))
    return plain


def same_settings(record: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Return whether a record holds the expected settings; files count by their content, not by their paths."""
    known, wanted = _without_paths(record), _without_paths(expected)
    return {**known, **wanted} == known


def _without_paths(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record in which files have no paths, only the parts of them that are used."""
    prompts = [_part_of(text) for text in record.get("audio_prompts", [])]
    rest = {key: value for key, value in record.items() if key not in _PATHS}
    return {**rest, "envelope": _part_of(record.get("envelope")), "audio_prompts": prompts}


def _part_of(text: str | None) -> str | None:
    """Return the part of a file that a text such as ``FILE#track=2`` names, without the file."""
    return None if text is None else str(replace(SoundPart.of(text), path=Path()))


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names, sizes and times of change of the files of a folder or a pattern.

    Args:
        path: A file, a folder, or a pattern of image files.
    """
    if path.is_file():
        status = path.stat()
        return _sha256(path, status.st_size, status.st_mtime_ns)
    images = None if path.is_dir() else find_images(path)
    files = images.files if images else sorted(file for file in path.rglob("*") if file.is_file())
    root = path if path.is_dir() else path.parent
    states = [(file.relative_to(root).as_posix(), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(states).encode()).hexdigest()


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, time_ns: int) -> str:
    """Return the SHA-256 of a file, read once for each of its states."""
    return file_sha256(path)


def _named(given: object) -> str | None:
    """Return the text that names a file or a part of it, or the type name of a value that was given directly."""
    return None if given is None else str(given) if isinstance(given, Path | str | SoundPart) else type(given).__name__
