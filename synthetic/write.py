"""Synthetic clips on disk, in the raw layout of Greatest Hits, with their ground truth."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from common.errors import InputError
from common.files import PARTIAL, atomic_path
from data.greatest_hits import find_recordings
from media.envelope import write_envelope_csv
from media.writing import mux, write_video
from synthetic.clip import clip_id, render_clip, truth_json
from synthetic.spec import SAMPLE_RATE_HZ, SyntheticSpec

MANIFEST = "manifest.json"
TRUTH = "truth"
VERSION = 5  # version of the clips that a seed gives: increased with every change of the renderer


@dataclass(frozen=True)
class Job:
    """One clip to write."""

    spec: SyntheticSpec
    seed: int
    index: int
    out_dir: Path

    @property
    def video_path(self) -> Path:
        """The file that is written last; if it exists, the clip is complete."""
        return self.out_dir / f"{clip_id(self.seed, self.index)}_mic.mp4"


def write_clip(job: Job) -> None:
    """Render a clip and write `<id>_times.txt`, `truth/<id>.json`, `truth/<id>_envelope.csv`, then `<id>_mic.mp4`.

    Args:
        job: The clip and its destination.

    Raises:
        InputError: The folder cannot be written.
    """
    name = clip_id(job.seed, job.index)
    clip = render_clip(job.spec, job.seed, job.index)
    assert clip.frames is not None
    assert clip.wave is not None
    assert clip.envelope is not None
    lines = [f"{hit.time_s:.6f} {hit.material} {hit.action} {hit.reaction}\n" for hit in clip.plan.hits]
    with atomic_path(job.out_dir / f"{name}_times.txt") as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
    with atomic_path(job.out_dir / TRUTH / f"{name}.json") as temporary:
        temporary.write_text(truth_json(clip), encoding="utf-8")
    write_envelope_csv(job.out_dir / TRUTH / f"{name}_envelope.csv", clip.envelope)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=job.out_dir) as folder:
        silent = Path(folder) / "silent.mp4"
        write_video(silent, clip.frames, job.spec.frame_rate_hz)
        mux(silent, clip.wave, SAMPLE_RATE_HZ, job.video_path)


def write_manifest(out_dir: Path, spec: SyntheticSpec, frame_rates_hz: Sequence[float], seed: int) -> None:
    """Write the settings of a folder's clips, or check that the folder has the same settings.

    Raises:
        InputError: The folder holds clips made with other settings, other recordings, or a manifest that cannot be
            read.
    """
    path = out_dir / MANIFEST
    settings = {**asdict(spec), "frame_rate_hz": list(frame_rates_hz), "seed": seed, "version": VERSION}
    if not path.exists():
        if find_recordings(out_dir):
            raise InputError(f"--output-dir {out_dir} holds other recordings: give an empty or new folder")
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [name for name, value in settings.items() if before.get(name) != value]
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not a manifest of synthetic clips ({error}): give another --output-dir") from error
    if changed:
        raise InputError(
            f"{out_dir} holds clips made with another {', '.join(changed)} (see {path}): "
            "give the same settings to continue, or another --output-dir"
        )
