"""Generate sound for a split: ``python -m stable_foley.generate_split --split S --checkpoint FILE --output-dir DIR``.

Every chunk of every recording gets ``DIR/generated/<id>_<start>s.wav``, or ``<id>.wav`` if the recording has only one
chunk; its real sound and its annotation go to ``DIR/reference``. To measure the results:
``python evaluate.py --reference DIR/reference --generated DIR/generated``.
After an interruption, run the same command to generate what is missing. Jobs that share the folder divide the chunks
with --shard; --join then checks that all of them are there.
"""

if __name__ == "__main__":  # before the slow imports
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from common.choices import SAMPLERS, SAMPLING_DTYPES
from common.errors import InputError, user_errors
from common.files import atomic_path, check_writable_folder, locked, only_run_in
from common.options import (
    add_batch_size,
    add_checkpoint,
    add_device,
    add_dtype,
    add_join,
    add_output_dir,
    add_seed,
    add_set,
    add_shard,
    add_steps,
    command_parser,
)
from common.shards import ShardReport, only_job_of, read_reports, remove_reports, write_report
from data.batch import collate
from data.chunks import Chunk
from data.dataset import FoleyDataset
from data.greatest_hits import Hit, write_hits
from media.clip import count_at_rate
from media.envelope import read_envelope_csv
from media.writing import write_sound
from stable_foley.generator import SoundGenerator
from stable_foley.noise import noise_source
from stable_foley.resynthesis import resynthesise
from stable_foley.sampler import SamplerSettings

log = logging.getLogger("generate_split")


def chunk_name(chunk: Chunk) -> str:
    """Return the name of a chunk's files: that of the recording if the chunk is all of it, else ``<id>_<start>s``.

    The start has at least three digits, and milliseconds if it is not in whole seconds.
    """
    if chunk.duration_s == chunk.clip.duration_s:
        return chunk.clip.clip_id
    start = f"{chunk.start_s:03.0f}" if float(chunk.start_s).is_integer() else f"{chunk.start_s:07.3f}"
    return f"{chunk.clip.clip_id}_{start}s"


def check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Store the settings with the sounds, or refuse different ones, so that one folder never mixes settings.

    Raises:
        InputError: the folder has different settings.
    """
    current = json.loads(json.dumps(settings, default=str))
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(current, indent=2) + "\n", encoding="utf-8")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        different = [key for key in before.keys() | current.keys() if before.get(key) != current.get(key)]
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give another --output-dir.") from error
    if different:
        changes = "; ".join(f"{key} {before.get(key)} instead of {current.get(key)}" for key in sorted(different))
        raise InputError(f"{path.parent} holds sounds with other settings ({changes}); give another --output-dir.")


@dataclass(frozen=True, eq=False)
class Result:
    """A chunk with its generated sound.

    Attributes:
        target: file for the sound.
        sound: generated (C, N).
        real: the chunk's own sound (C, N).
        hits: annotation of the chunk.
    """

    target: Path
    sound: Tensor
    real: Tensor
    hits: Sequence[Hit]


@dataclass(frozen=True)
class SplitGenerator:
    """Generates sound for chunks of a data set and writes it.

    Attributes:
        pipeline: the model, its device, and the form of its clips.
        settings: settings of the sampler.
        dataset: chunks in that form.
        out: folder of the results.
        seed: seed of the noise, combined with a chunk's name.
        in_words: whether the prompt is the chunk's label instead of its sound; a chunk without label gets none.
        envelopes: folder of ``<name>.csv`` that control the sounds; None: the envelopes of the chunks' own sounds.
    """

    pipeline: SoundGenerator
    settings: SamplerSettings
    dataset: FoleyDataset
    out: Path
    seed: int
    in_words: bool
    envelopes: Path | None

    def target(self, index: int) -> Path:
        """Return the file for the sound of a chunk."""
        return self.out / "generated" / f"{chunk_name(self.dataset.chunks[index])}.wav"

    def generate(self, indices: Sequence[int]) -> list[Result]:
        """Generate the sounds of some chunks in one batch.

        Raises:
            InputError: a chunk or its envelope cannot be read, or its sound is not finite.
        """
        items = [self.dataset.item(index) for index in indices]
        targets = [self.target(index) for index in indices]
        sounds = resynthesise(
            self.pipeline.model,
            collate(items),
            self.settings,
            [noise_source(self.seed, *target.stem.encode()) for target in targets],
            envelopes=[read_envelope_csv(self.envelopes / f"{t.stem}.csv") for t in targets]
            if self.envelopes
            else None,
            texts=[item.label or None for item in items] if self.in_words else None,
        )
        results = []
        for index, item, target, sound in zip(indices, items, targets, sounds, strict=True):
            assert item.wave is not None
            if not sound.isfinite().all():
                raise InputError(f"the sound of {target.stem} is not finite: give a trained model, or a lower --cfg")
            n_samples = count_at_rate(item.duration_s, self.pipeline.sample_rate_hz)
            hits = self.dataset.chunks[index].hits
            results.append(Result(target, sound[:, :n_samples], item.wave[:, :n_samples], hits))
        return results

    def write(self, result: Result) -> None:
        """Write a chunk's real sound and annotation, then its generated sound, which marks the chunk as complete.

        Raises:
            InputError: a file cannot be written.
        """
        rate_hz = self.pipeline.sample_rate_hz
        reference = self.out / "reference" / result.target.name
        write_hits(reference.with_suffix(".times.csv"), result.hits)
        write_sound(reference, result.real, rate_hz)
        write_sound(result.target, result.sound, rate_hz)

    def run(self, indices: Sequence[int], batch_size: int) -> list[str]:
        """Generate and write what is missing.

        Returns:
            A sentence for each chunk that could not be generated.

        Raises:
            InputError: a file cannot be written; earlier files stay.
        """
        missing = [index for index in indices if not self.target(index).exists()]
        log.info("%d of %d chunks are there, %d to do", len(indices) - len(missing), len(indices), len(missing))
        problems: list[str] = []
        n_clipped = 0
        with tqdm(total=len(missing), unit="chunk") as progress:
            for start in range(0, len(missing), batch_size):
                batch = missing[start : start + batch_size]
                for result in self._generate_each(batch, problems):
                    n_clipped += bool((result.sound.abs() > 1).any())
                    self.write(result)
                progress.update(len(batch))
        if n_clipped:
            log.warning("%d sounds exceeded full scale and were clipped", n_clipped)
        return problems

    def _generate_each(self, batch: Sequence[int], problems: list[str]) -> list[Result]:
        """Generate a batch; if that fails, retry chunk by chunk and add a sentence to `problems` for each failure."""
        try:
            return self.generate(batch)
        except InputError as error:
            if len(batch) == 1:
                problems.append(str(error))
                return []
        return [result for index in batch for result in self._generate_each([index], problems)]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = command_parser("python -m stable_foley.generate_split", __doc__)
    add = parser.add_argument
    add(
        "--split",
        required=True,
        metavar="SPLIT",
        help="file of recordings' ids, one per line; or train, val, test, all of --root",
    )
    add("--root", type=Path, metavar="DIR", help="folder of the data set (default: that of the split file)")
    add_checkpoint(parser, "a training, or a published .ckpt")
    add_output_dir(parser)
    add(
        "--prompt-from",
        choices=["sound", "text"],
        default="sound",
        help="the chunk's own sound, or its label (no prompt without label)",
    )
    envelopes = "folder of NAME.csv (time_s,rms) to control with (default: the envelopes of the real sounds)"
    add("--envelopes", type=Path, metavar="DIR", help=envelopes)
    add_steps(parser)
    add("--cfg", type=float, metavar="SCALE", help="guidance scale, 1 for none (default: the checkpoint's)")
    add("--sampler", choices=list(SAMPLERS), help="sampler (default: the checkpoint's)")
    add_seed(parser, "the noise")
    add_batch_size(parser, default=4)
    add_shard(parser)
    add_join(parser)
    add_device(parser)
    add_dtype(parser, SAMPLING_DTYPES)
    add_set(parser)
    return parser


def place_of(args: argparse.Namespace) -> tuple[Path, str | Path | None]:
    """Return the folder of the recordings, and the split for ``FoleyDataset``.

    Raises:
        InputError: options do not fit.
    """
    if args.split.endswith(".txt"):
        path = Path(args.split)
        return args.root or path.parent, path
    if args.root is None:
        raise InputError(f"--split {args.split} is not a .txt file; give one, or --root FOLDER with this split.")
    return args.root, None if args.split == "all" else args.split


def run(args: argparse.Namespace) -> None:
    """Load the model, generate what is missing, and log the output folders.

    Raises:
        InputError: an option or a file does not fit.
    """
    check_writable_folder(args.output_dir, "--output-dir")
    if args.join:
        join(args.output_dir)
        return
    root, split = place_of(args)
    changes = {"name": args.sampler, "n_steps": args.steps, "cfg_scale": args.cfg}
    changes |= {"level_match_db": 0.0, "colour_match_db": 0.0}  # metrics measure the model alone
    SamplerSettings().changed(**changes)  # refuses values out of range before a model is loaded
    pipeline = SoundGenerator.from_checkpoint(args.checkpoint, args.device, args.dtype, args.set)
    settings = pipeline.settings.changed(**changes)
    dataset = FoleyDataset(root, split, pipeline.spec, frames=pipeline.reads_frames)
    kept = ("checkpoint", "split", "root", "prompt_from", "envelopes", "seed", "dtype", "set")
    kept_settings = {key: vars(args)[key] for key in kept} | asdict(settings)
    with locked(args.output_dir / ".settings-lock", wait=True):  # another job may begin too
        check_settings(args.output_dir / "settings.json", kept_settings)
    generator = SplitGenerator(
        pipeline,
        settings,
        dataset,
        args.output_dir,
        args.seed,
        in_words=args.prompt_from == "text",
        envelopes=args.envelopes,
    )
    indices = args.shard.of(range(len(dataset)))
    with only_job_of(args.output_dir, args.shard):
        problems = generator.run(indices, args.batch_size)
        if args.shard.count > 1 and not problems:
            written = [generator.target(index).name for index in range(len(dataset))]
            digest = hashlib.sha256("\n".join(written).encode()).hexdigest()
            write_report(args.output_dir, args.shard, ShardReport({**kept_settings, "chunks": digest}, len(dataset)))
    log.info("sounds are in %s, the real ones in %s", args.output_dir / "generated", args.output_dir / "reference")
    if problems:
        raise InputError(f"{len(problems)} of {len(indices)} chunks have no sound; the first: {problems[0]}")


def join(out: Path) -> None:
    """Log that the sounds of all shards are there.

    Raises:
        InputError: a shard is missing or of other settings, or a sound is missing.
    """
    with only_run_in(out):
        reports = read_reports(out)
        n_there = sum(1 for _ in (out / "generated").glob("*.wav"))
        if n_there != reports[0].n_jobs:
            raise InputError(
                f"{out / 'generated'} holds {n_there} sounds, but the split has {reports[0].n_jobs} chunks: run the "
                "command again without --join and --shard, which generates what is missing."
            )
        remove_reports(out)
    log.info("all %d sounds of %d parts are in %s", n_there, len(reports), out / "generated")


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(build_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
