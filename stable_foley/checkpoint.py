"""Import and split checkpoints of Foley models; load the model of a checkpoint.

``python -m stable_foley.checkpoint import --published FILE.ckpt --output FILE`` makes one of a published
Stable-Foley checkpoint; ``split --checkpoint FILE --backbone FILE --output FILE`` makes two of one that was trained
with its transformer.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from common.errors import end_on_interrupt

    end_on_interrupt()

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from common.choices import INT8
from common.errors import InputError, user_errors
from common.files import check_writable_folder
from common.options import add_checkpoint, add_output, command_parser
from common.weights import state_dict_of
from stable_foley.backbone import DIT, backbone_sha256
from stable_foley.config import MAIN_EXPERIMENT, NEEDED, build_checked, inference_config
from stable_foley.int8 import round_to_int8
from stable_foley.model import CONTROL_PARTS, FoleyModel
from stable_foley.published import Published, is_published, read_published
from training.checkpoint import Checkpoint, check_new, read_content, save_checkpoint, weights_to_use
from training.config import REPOSITORY, change, compose, describing, random_weights
from training.stored_config import kept_sections

BUNDLED = REPOSITORY / "bundled" / "controlnet.safetensors"


def default_checkpoint(overrides: Sequence[str] = ()) -> Path | None:
    """Return the bundled checkpoint, or None if the overrides ask for random weights, which need no checkpoint.

    Raises:
        InputError: ``paths.random_weights`` is set to neither true nor false.
    """
    key = "paths.random_weights"
    asked = [override for override in overrides if override.partition("=")[0] == key]
    config = change(OmegaConf.create({"paths": {"random_weights": False}}), asked)
    return None if random_weights(config) else BUNDLED


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``.safetensors`` checkpoint, a ``.ckpt`` that training left for resuming, or a published one.

    Raises:
        InputError: the file is missing, damaged, or none of these.
    """
    content = read_content(path)
    if "config" not in content:
        published = _published(content, path, inside=True)
        return Checkpoint(published.weights, published.config)
    config = kept_sections(content["config"], path, NEEDED)
    return Checkpoint(weights_to_use(content, path), cast("dict[str, Any]", OmegaConf.to_container(config)))


def _published(content: Mapping[str, Any], path: Path, *, inside: bool) -> Published:
    """Return the published checkpoint in a file."""
    state = state_dict_of(content, path)
    if not is_published(state):
        raise InputError(
            f"{path} is no published Stable-Foley checkpoint; expected keys model.model.controlnet.…, or a checkpoint "
            "with a configuration, as train.py writes: give one."
        )
    return read_published(state, path, inside=inside)


def load_model(
    path: Path | None, overrides: Sequence[str] = (), dtype: str = "float32"
) -> tuple[FoleyModel, DictConfig]:
    """Rebuild the model of a checkpoint.

    Args:
        path: checkpoint file; None: a model with random weights, as the configuration alone describes it; the
            overrides must say ``paths.random_weights=true``.
        overrides: changes to its configuration, ``key.sub=value``, e.g. where the backbone's weights are now.
        dtype: of the transformer and its control branch, one of ``SAMPLING_DTYPES``.

    Returns:
        The model, in eval mode, on the CPU, and the configuration used: the sections ``NEEDED``, without references.

    Raises:
        InputError: file, override or weights are wrong.
    """
    loaded = "bfloat16" if dtype == INT8 else dtype
    if path is None:
        if default_checkpoint(overrides) is not None:
            raise InputError(
                "Without a checkpoint weights are random, to measure and not to listen: say so with "
                "--set paths.random_weights=true, or give --checkpoint FILE."
            )
        model, config = build_checked(_main_config(overrides), loaded, "--set")
    else:
        checkpoint = read_checkpoint(path)
        model, config = build_checked(change(OmegaConf.create(checkpoint.config), overrides), loaded, path)
        model.load_trained_state(checkpoint.weights, source=path)
    if dtype == INT8:
        for dit in filter(None, (model.model.model, model.model.controlnet)):
            round_to_int8(dit)
    return model.eval().requires_grad_(False), config


def _main_config(overrides: Sequence[str]) -> DictConfig:
    """Return the main experiment's sections for inference, changed; ``backbone=NAME`` and the like choose its parts.

    Raises:
        InputError: an override names what is not there, or what generating a sound does not read.
    """
    roots = {key.split(".")[0]: key for key in (*NEEDED, "form", "exp")}
    choices = [override for override in overrides if "." not in override.partition("=")[0]]
    for choice in choices:
        if choice.partition("=")[0].lstrip("+~").split("/")[0] not in roots:
            raise InputError(f"--set {choice} has no effect on the sound; expected one of {', '.join(roots)}.")
    config = inference_config(compose(MAIN_EXPERIMENT, *choices))
    return change(config, [override for override in overrides if override not in choices])


def import_published(path: Path, out: Path) -> Published:
    """Write the slim checkpoint of a published one: what was trained, the frozen parts by name and checksum.

    Args:
        path: the published file, ``.ckpt`` or its state dict as ``.safetensors``; not changed.
        out: where to, ``.safetensors``.

    Raises:
        InputError: the file is no published checkpoint, or is damaged, or ``out`` cannot be written.
    """
    check_new("--output", out)
    published = _published(read_content(path), path, inside=False)
    save_checkpoint(out, Checkpoint(published.weights, published.config))
    return published


def split(path: Path, backbone: Path, out: Path) -> None:
    """Write the two files of a checkpoint that was trained with its transformer: backbone, and control branch over it.

    Args:
        path: checkpoint of a training with ``model.trainable=all`` and a control branch; not changed.
        backbone: where transformer, seconds and projections of the prompts go, ``.safetensors``.
        out: where the control branch goes, ``.safetensors``; its configuration names ``backbone`` and its checksum.

    Raises:
        InputError: the checkpoint holds no transformer or no control branch, or goes with a VAE, or a file cannot be
            written.
    """
    if backbone.resolve() == out.resolve():
        raise InputError(f"--backbone and --output are both {out}; give two names.")
    for option, file in (("--backbone", backbone), ("--output", out)):
        check_new(option, file)
        check_writable_folder(file.parent, option)
    checkpoint = read_checkpoint(path)
    control = {key: value for key, value in checkpoint.weights.items() if key.startswith(CONTROL_PARTS)}
    rest = {key: value for key, value in checkpoint.weights.items() if key not in control}
    if not control or not any(key.startswith(DIT) for key in rest):
        raise InputError(f"{path} does not hold a transformer and a control branch; give one of model.trainable=all.")
    config, alone = OmegaConf.create(checkpoint.config), OmegaConf.create(checkpoint.config)
    with describing(path):
        if config.backbone.model_config.model.pretransform.type != "mel":
            raise InputError(f"{path} goes with a VAE, which it does not hold: it cannot do without its backbone.")
        alone.backbone.update(weights=None, sha256=None)
        alone.model.control_layers = 0
        alone.conditioners.envelope = None
        if config.model.get("guidance") is not None:  # the head stays with the branch; without it v is guided already
            alone.model.guidance = None
            alone.sampler.cfg_scale = 1.0
        config.model.trainable = "control"
        is_bundled = backbone.resolve().parent == BUNDLED.parent
        config.backbone.weights = f"${{bundled:{backbone.name}}}" if is_bundled else str(backbone.resolve())
        config.backbone.sha256 = backbone_sha256(rest)
    for file, weights, its_config in ((backbone, rest, alone), (out, control, config)):
        save_checkpoint(file, Checkpoint(weights, cast("dict[str, Any]", OmegaConf.to_container(its_config))))


def report(published: Published, path: Path, out: Path) -> str:
    """Return text about what was kept of a published checkpoint, what comes from elsewhere, and what is unused."""
    config, n_values = published.config, sum(value.numel() for value in published.weights.values())
    backbone, conditioners = config["backbone"], config["conditioners"]
    lines = [
        f"{path.name}: {config['model']['control_layers']} control layers on a transformer of "
        f"{backbone['model_config']['model']['diffusion']['config']['depth']}",
        f"kept: {len(published.weights)} tensors, {n_values / 1e6:.1f} M values (control branch, projections, seconds)",
        f"not kept: {', '.join(f'{name} ({n} tensors)' for name, n in published.frozen.items())}; taken from",
        f"  {backbone['hub_id']}, SHA-256 {backbone['sha256']} (paths.stable_audio_open)",
    ]
    if (cavp := conditioners.get("frames", {}).get("cavp", {})).get("sha256"):
        lines.append(f"  {cavp['name']}, SHA-256 {cavp['sha256']} (paths.cavp)")
    lines += [f"not used: {len(published.unused)} tensors", *(f"  {key}" for key in published.unused)]
    return "\n".join([*lines, f"wrote {out}"])


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = command_parser("python -m stable_foley.checkpoint", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    importing = commands.add_parser("import", help="make a small checkpoint of a published Stable-Foley one")
    published = "published checkpoint, .ckpt"
    importing.add_argument("--published", type=Path, required=True, metavar="FILE", help=published)
    add_output(importing, "a checkpoint, .safetensors")
    splitting = commands.add_parser("split", help="make two checkpoints of one that was trained with its transformer")
    add_checkpoint(splitting, "a training with model.trainable=all")
    backbone = "transformer to write, .safetensors"
    splitting.add_argument("--backbone", type=Path, required=True, metavar="FILE", help=backbone)
    add_output(splitting, "the control branch, .safetensors")
    args = parser.parse_args(arguments)
    if args.command == "split":
        split(args.checkpoint, args.backbone, args.output)
        sys.stdout.write(f"wrote {args.backbone}\nwrote {args.output}\n")
        return
    sys.stdout.write(report(import_published(args.published, args.output), args.published, args.output) + "\n")


if __name__ == "__main__":
    sys.exit(main())
