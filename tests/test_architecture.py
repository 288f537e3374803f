"""Which package may import which, and that every configuration composes."""

import ast
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from tests.conftest import REPOSITORY
from training.config import compose

MAY_IMPORT = {
    "common": set(),
    "media": {"common"},
    "clap": {"common"},
    "data": {"common", "media"},
    "synthetic": {"common", "media", "data"},
    "training": {"common", "data"},
    "cavp": {"common", "data", "training"},
    "evaluation": {"common", "media", "clap", "data"},
    "hits": {"common", "media", "evaluation"},
    "video2rms": {"common", "media", "data", "synthetic", "training", "evaluation", "hits"},
    "stable_foley": {"common", "media", "clap", "cavp", "data", "training", "evaluation"},
    "video2audio": {"common", "media", "data", "evaluation", "hits", "video2rms", "stable_foley"},
    "session": {"common", "media", "evaluation", "hits", "video2rms", "stable_foley", "video2audio"},
    "studio": {"common", "media", "hits", "video2rms", "stable_foley", "video2audio", "session"},
}
"""Every package and those that it may import, all of them above it: no circle can be stated here."""
ONLY_IN = {
    "stable_audio_tools": {"stable_foley/audio_tools.py"},
    "laion_clap": {"clap/encoder.py"},
    "av": {
        f"media/{name}.py"
        for name in (
            "compression",
            "container",
            "frames",
            "images",
            "interlacing",
            "muxing",
            "output",
            "picture_copy",
            "picture_encode",
            "reading",
            "sound",
            "track_plan",
            "tracks",
            "writing",
        )
    },
    "decord": {"media/frames_by_decord.py"},
    "fastapi": {"studio/api.py", "studio/app.py", "studio/server.py"},
    "uvicorn": {"studio/__main__.py"},
    "soundfile": {"media/output.py", "media/writing.py"},
    "mido": {"hits/midi.py"},
    "opentimelineio": {"hits/timeline.py"},
}
MODELS_DO_NOT_READ_MEDIA = {
    "audio_tools",
    "backbone",
    "codec",
    "dit",
    "controlnet",
    "model",
    "sampler",
    "diffusion",
    "mel_latent",
    "module",
    "generator",
}


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def sources():
    return sorted(p for package in MAY_IMPORT for p in (REPOSITORY / package).rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_import_directions(path):
    place = path.relative_to(REPOSITORY).as_posix()
    modules = list(imported_modules(path))
    package = place.split("/")[0]
    for module in modules:
        top = module.split(".")[0]
        assert top not in MAY_IMPORT.keys() - MAY_IMPORT[package] - {package}, f"{place} imports {module}"
        assert place in ONLY_IN.get(top, {place}), f"{place} imports {module}"
    if place.startswith("stable_foley/") and path.stem in MODELS_DO_NOT_READ_MEDIA:
        readers = ("container", "frames", "probe", "reading", "sound", "writing")
        assert not {f"media.{name}" for name in readers} & set(modules)


@pytest.mark.parametrize("exp", sorted(p.name for p in (REPOSITORY / "exp").glob("*.yaml")))
@pytest.mark.parametrize("backbone", ["default", "mini", "debug"])
def test_experiments_compose(exp, backbone):
    config = compose(f"exp={exp}", *([] if backbone == "default" else [f"backbone={backbone}"]))
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


def test_the_main_experiment_is_the_published_one():
    config = compose("exp=train_gh_controlnet.yaml")
    assert config.backbone.model_config.model.diffusion.config.depth == 24
    assert config.model.control_layers == 5
    assert config.dataset.batch_size * config.trainer.accumulate_grad_batches == 48
    assert config.training.optimizer.lr == 1e-4
    assert config.training.token_dropout == 0.1
    assert config.training.control_dropout == 0.2
    assert config.sampler.cfg_scale == 7.0
    assert "wandb" in config.logger


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("infer", ("torch", "numpy", "av", "omegaconf")),
        ("video2audio.command", ("pytorch_lightning", "librosa", "transformers", "laion_clap", "wandb", "torchvision")),
        ("video2audio.command", ("matplotlib", "stable_audio_tools.models.autoencoders", "torch._dynamo")),
    ],
)
def test_a_module_imports_only_what_it_needs(module, absent):
    """The first is all that ``infer.py --help`` imports, the others all that a generation does before it begins."""
    loaded = f"import sys, {module}; print(sorted(sys.modules.keys() & {set(absent)!r}))"
    found = subprocess.run([sys.executable, "-c", loaded], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
