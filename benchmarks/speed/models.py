"""The models that are timed, with random weights, and the same networks inside stable-audio-tools."""

import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.full_size import CFG_SCALE, example_conditions
from common.devices import pick_device
from data.batch import FoleyBatch, FoleyItem, collate
from media.clip import ClipSpec
from stable_foley.checkpoint import load_model
from stable_foley.conditions import Conditions
from stable_foley.features import encode_features
from stable_foley.model import FoleyModel
from stable_foley.module import FoleyTraining
from stable_foley.sampler import SamplerSettings
from training.config import build_model, compose, instantiate
from training.noise import ClipNoise

N_WARM, N_PRODUCTS = 2, 5
PRODUCT_SIZE = 2048
LEARNING_RATE = 1e-4


def load(backbone: str, dtype: str) -> FoleyModel:
    """Load a model with random weights on the machine's best device."""
    model, _ = load_model(None, [f"backbone={backbone}", "paths.random_weights=true"], dtype)
    return model.eval().requires_grad_(False).to(pick_device(None))


def timed(run: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    """Return a function that ends when the work of another one is done, on a GPU too."""

    def done() -> None:
        with torch.no_grad():
            run()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return done


def _example(model: FoleyModel, *, controlled: bool) -> tuple[Tensor, Conditions]:
    """Return a noised latent and conditions of 10 s on the model's device."""
    x, conditions = example_conditions(model, torch.Generator().manual_seed(0))
    tokens, embed, control = (
        None if each is None else each.to(model.device)
        for each in (conditions.tokens, conditions.global_embed, conditions.control if controlled else None)
    )
    return x.to(model.device), Conditions(tokens, embed, control)


def step(model: FoleyModel, *, controlled: bool) -> Callable[[], None]:
    """Return a sampling step with guidance."""
    x, conditions = _example(model, controlled=controlled)
    level = torch.tensor([0.7], device=model.device)
    return timed(lambda: model.guided_v(x, level, conditions, CFG_SCALE, conditions), model.device)


def sampling(model: FoleyModel, n_steps: int) -> Callable[[], None]:
    """Return this project's sampling of 10 s without an envelope."""
    _, conditions = _example(model, controlled=False)
    settings = SamplerSettings("dpmpp-3m-sde", n_steps, 0.03, 500.0, CFG_SCALE)
    n_samples = 10 * model.pretransform.sample_rate_hz

    def run() -> Tensor:
        return model.sample(conditions, n_samples, settings, [torch.Generator().manual_seed(0)], negative=conditions)

    return timed(run, model.device)


def their_sampling(model: FoleyModel, n_steps: int) -> Callable[[], None]:
    """Return stable-audio-tools' sampling with the same weights, conditions and sampler."""
    from stable_audio_tools.inference.generation import generate_diffusion_cond

    x, conditions = _example(model, controlled=False)
    theirs = _wrapped(model)
    given = {key: [value, torch.ones(value.shape[:2], device=x.device)] for key, value in _named(conditions)}
    return timed(
        lambda: generate_diffusion_cond(
            theirs,
            steps=n_steps,
            cfg_scale=CFG_SCALE,
            conditioning_tensors=given,
            sample_size=x.shape[-1],
            seed=0,
            device=str(x.device),
            sampler_type="dpmpp-3m-sde",
            return_latents=True,
            apg_scale=0.0,
            disable_tqdm=True,
        ),
        model.device,
    )


def _named(conditions: Conditions) -> list[tuple[str, Tensor]]:
    found = [("tokens", conditions.tokens), ("global", conditions.global_embed)]
    return [(key, value) for key, value in found if value is not None]


def _wrapped(model: FoleyModel, conditioner: nn.Module | None = None) -> Any:
    """Return the transformer of a model as stable-audio-tools wraps it, without a codec; weights are shared."""
    from stable_audio_tools.models.diffusion import ConditionedDiffusionModelWrapper, DiTWrapper

    dit = model.backbone.dit
    with torch.device("meta"):
        theirs = DiTWrapper(diffusion_objective="v", **dit.config)
    theirs.model.load_state_dict(dit.state_dict(keep_vars=True), assign=True)
    return ConditionedDiffusionModelWrapper(
        theirs.to(model.device).train(dit.training),
        conditioner,
        io_channels=dit.config["io_channels"],
        sample_rate=model.pretransform.sample_rate_hz,
        min_input_length=1,
        cross_attn_cond_ids=["tokens"] if dit.config.get("cond_token_dim") else [],
        global_cond_ids=["global"],
    )


def training(experiment: str, n_clips: int, *overrides: str) -> tuple[FoleyTraining, FoleyBatch]:
    """Return a module of an experiment with random weights, and a batch of random features of 10 s."""
    config = compose(experiment, *overrides, "paths.random_weights=true", "machine=cpu")
    model = build_model(config)
    module: FoleyTraining = instantiate(config.training)(model=model, config=config)
    module.to(pick_device(None))
    spec: ClipSpec = instantiate(config.dataset.spec)
    generator = torch.Generator().manual_seed(0)
    wave = 0.1 * torch.randn(1, spec.n_channels, spec.n_samples, generator=generator)
    frames = torch.rand(1, spec.n_frames, 3, *spec.frame_width_height[::-1], generator=generator)
    item = FoleyItem(wave[0], frames[0], torch.zeros(0), "hitting wood", "clip", 0.0, spec.duration_s)
    batch = collate([item] * n_clips)
    features = encode_features(model, collate([item]).to(module.device))
    repeated = {key: value.repeat(n_clips, *[1] * (value.ndim - 1)) for key, value in features.items()}
    return module, replace(batch, wave=None, frames=None, features=repeated).to(module.device)


def training_step(module: FoleyTraining, batch: FoleyBatch, dtype: torch.dtype | None = None) -> Callable[[], None]:
    """Return a training step: loss, gradients, optimiser."""
    module.train()
    optimizer = torch.optim.AdamW([each for each in module.parameters() if each.requires_grad], LEARNING_RATE)
    numbers = itertools.count()

    def run() -> None:
        with torch.autocast(module.device.type, dtype, enabled=dtype is not None):
            loss = module.loss(batch, _noise(batch, next(numbers)), dropping=True)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def _noise(batch: FoleyBatch, number: int) -> ClipNoise:
    """Return the noise of the clips of a batch."""
    return ClipNoise([(number, place + 1) for place in range(len(batch))])


class _Given(nn.Module):
    """Conditions that are known, as a conditioner of stable-audio-tools."""

    def __init__(self, given: dict[str, list[Tensor]]) -> None:
        super().__init__()
        self.given = given

    def forward(self, *_: Any) -> dict[str, list[Tensor]]:
        return self.given


def their_training_step(module: FoleyTraining, batch: FoleyBatch) -> Callable[[], None]:
    """Return stable-audio-tools' training step on the same weights, latents and conditions."""
    for name in ("auraloss", "audiotools", "torchaudio.prototype", "torchaudio.prototype.transforms"):
        sys.modules.setdefault(name, MagicMock())  # not installed, and only its training of codecs uses them
    from stable_audio_tools.training.diffusion import DiffusionCondTrainingWrapper

    with torch.no_grad():
        latent, embeddings, kept = module.recorded(batch, _noise(batch, 0), dropping=False)
        conditions = module.model.conditioner(embeddings, kept)
    given = {key: [value, torch.ones(value.shape[:2])] for key, value in _named(conditions)}
    wrapper = DiffusionCondTrainingWrapper(_wrapped(module.model, _Given(given)), lr=LEARNING_RATE, use_ema=False)
    wrapper.log_dict = lambda *_, **__: None
    optimizer = torch.optim.AdamW(wrapper.diffusion.model.parameters(), LEARNING_RATE)

    class Trainer:
        optimizers = (optimizer,)

    type(wrapper).trainer = Trainer()  # it logs the learning rate
    metadata: list[dict[str, Any]] = [{} for _ in range(len(latent))]

    def run() -> None:
        loss = wrapper.training_step((latent, metadata), 0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def flop(run: Callable[[], Any]) -> float:
    """Return the floating-point operations of matrix products and attention in a run."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def ceiling_flops(model: FoleyModel, dtype: torch.dtype | None = None) -> float:
    """Return the operations a second of large matrix products in the type of a transformer, the best of five."""
    dtype = dtype or next(model.model.parameters()).dtype
    a, b = (torch.randn(PRODUCT_SIZE, PRODUCT_SIZE, dtype=dtype, device=model.device) for _ in range(2))
    run = timed(lambda: a @ b, model.device)
    best_s = float("inf")
    for number in range(N_WARM + N_PRODUCTS):
        start_s = time.perf_counter()
        run()
        if number >= N_WARM:
            best_s = min(best_s, time.perf_counter() - start_s)
    return 2 * PRODUCT_SIZE**3 / best_s
