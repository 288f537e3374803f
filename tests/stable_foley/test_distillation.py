"""Distillation: what the student is taught, against closed forms; what a distilled model does with a guidance scale."""

from dataclasses import replace

import pytest
import torch

from common.errors import InputError
from data.batch import FoleyBatch
from stable_foley import diffusion, sampler
from stable_foley.config import composed_config
from stable_foley.generator import Prompts, SoundGenerator
from stable_foley.guidance import GuidanceHead
from training.checkpoint import Checkpoint, save_checkpoint
from training.config import compose
from training.module import build_training

RANDOM = ("backbone.weights=null", "paths.random_weights=true", "backbone.random_weights=true")
SHORT = ("dataset.spec.duration_s=1.0", "trainer.precision=32")


def randomised(model, seed=0):
    """Give weights to what is zero in a new model, so that every input matters."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def teacher_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    config = compose("exp=mini_controlnet", *RANDOM, *SHORT)
    model = randomised(build_training(config).model)
    save_checkpoint(path, Checkpoint(model.trained_state(), composed_config(config, model)))
    return path


def student_of(path, *options):
    return build_training(compose("exp=distill_mini", *RANDOM, *SHORT, f"training.teacher={path}", *options))


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    return FoleyBatch(
        wave=0.1 * torch.randn(3, 2, 44_100, generator=generator),
        frames=torch.rand(3, 4, 3, 64, 112, generator=generator),
        onsets=(torch.zeros(0),) * 3,
        labels=("hitting metal with a drumstick", "", "hitting wood with a drumstick"),
        clip_ids=("a", "b", "c"),
        start_s=torch.zeros(3),
        duration_s=torch.ones(3),
    )


def test_v_of_a_step_leads_to_its_end():
    generator = torch.Generator().manual_seed(0)
    x, end = torch.randn(2, 3, 4, 5, generator=generator)
    sigma, sigma_end = torch.tensor([10.0, 0.5, 0.1])[:, None, None], torch.tensor([4.0, 0.4, 0.001])[:, None, None]
    clean = diffusion.denoised_from_v(x, diffusion.v_from_step(x, end, sigma, sigma_end), sigma)
    torch.testing.assert_close(x + (x - clean) / sigma * (sigma_end - sigma), end)


def test_a_new_student_has_the_teachers_weights_and_ignores_the_scale(teacher_path):
    student = student_of(teacher_path)
    taught = student.teacher.state_dict()
    own = student.model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in taught.items())
    assert not student.model.guidance.projection.weight.any()


def test_one_substep_without_guidance_is_what_the_student_does_already(teacher_path, batch):
    options = ("training.n_substeps=1", "model.guidance.highest=1.0001")
    student = student_of(teacher_path, *options).eval()
    assert student.loss(batch, student.noise(len(batch), 0)).item() < 1e-6


def test_with_guidance_or_more_substeps_there_is_something_to_learn(teacher_path, batch):
    for options in (("training.n_substeps=1",), ("training.n_substeps=2", "model.guidance.highest=1.0001")):
        student = student_of(teacher_path, *options)
        assert student.loss(batch, student.noise(len(batch), 0)).item() > 1e-5


def test_steps_of_training_bring_the_student_nearer(teacher_path, batch):
    student = student_of(teacher_path)
    optimizer = torch.optim.Adam([p for p in student.model.parameters() if p.requires_grad], lr=3e-5)
    before = student.loss(batch, student.noise(len(batch), 5)).item()
    for _ in range(15):
        loss = student.loss(batch, student.noise(len(batch), 5))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert student.loss(batch, student.noise(len(batch), 5)).item() < 0.9 * before
    assert student.model.guidance.projection.weight.any()
    assert all(parameter.grad is None for parameter in student.teacher.parameters())


def test_a_distilled_checkpoint_generates_in_one_evaluation_a_step(teacher_path, tmp_path):
    config = compose("exp=distill_mini", *RANDOM, *SHORT, f"training.teacher={teacher_path}")
    model = randomised(build_training(config).model)
    path = tmp_path / "student.safetensors"
    save_checkpoint(path, Checkpoint(model.trained_state(), composed_config(config, model)))
    generator = SoundGenerator.from_checkpoint(path)
    assert (generator.settings.name, generator.settings.n_steps) == ("euler", 4)
    n_clips = []
    transformer = generator.model.backbone.dit.transformer
    transformer.register_forward_pre_hook(lambda _module, inputs: n_clips.append(len(inputs[0])))
    envelope = generator.measure(0.1 * torch.randn(2, 44_100, generator=torch.Generator().manual_seed(0)))
    soft, strong = (
        generator.generate(envelope, 1.0, settings=replace(generator.settings, cfg_scale=scale)) for scale in (1.0, 3.0)
    )
    assert n_clips == [1] * 8
    assert not torch.allclose(soft, strong)
    with pytest.raises(InputError, match="distilled with scales from 1 to 5"):
        generator.generate(envelope, 1.0, settings=replace(generator.settings, cfg_scale=7.0))
    n_clips.clear()
    away = generator.generate(envelope, 1.0, prompts=Prompts(negative_text="hitting metal"))
    assert n_clips == [2] * 4
    assert not torch.allclose(away, generator.generate(envelope, 1.0))


@pytest.fixture(scope="module")
def distilled_path(teacher_path, tmp_path_factory):
    """A model that is distilled to 8 steps."""
    eight = ("sampler.n_steps=8", "sampler.sigma_min=0.05")
    config = compose("exp=distill_mini", *RANDOM, *SHORT, f"training.teacher={teacher_path}", *eight)
    model = randomised(build_training(config).model)
    path = tmp_path_factory.mktemp("distilled") / "student.safetensors"
    save_checkpoint(path, Checkpoint(model.trained_state(), composed_config(config, model)))
    return path


def test_a_distilled_teacher_is_followed_on_its_own_levels(distilled_path, batch):
    """As by its sampler: two steps of a sampling from the same start end where the student is asked to end."""
    student = student_of(distilled_path).eval()
    teacher = student.teacher
    assert torch.equal(student.model.guidance.projection.weight, teacher.guidance.projection.weight)
    sigmas = sampler.polyexponential_sigmas(8, 0.05, 100.0).float()
    torch.testing.assert_close(student._levels[:-1], sigmas[:-1])
    drawn = student._draw_levels(student.noise(64))
    assert {tuple(each) for each in drawn.T.tolist()} == {
        tuple(student._levels[first : first + 3].tolist()) for first in (0, 2, 4, 6)
    }
    assert student.loss(batch, student.noise(len(batch), 0)).item() > 1e-5


@pytest.mark.parametrize(
    ("option", "remedy"),
    [
        ("training.n_substeps=3", "divides it"),
        ("training.n_substeps=8", "divides it"),
        ("sampler.n_steps=8", "sampler.n_steps=4 sampler.sigma_min=0.1481 sampler.sigma_max=100"),
        ("sampler.sigma_min=0.05", "sampler.sigma_min=0.1481"),
        ("model.guidance.highest=6.0", "model.guidance.highest=5.0"),
    ],
)
def test_a_student_shares_the_levels_and_scales_of_a_distilled_teacher(distilled_path, option, remedy):
    with pytest.raises(InputError, match=remedy):
        student_of(distilled_path, option)


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("sampler.name=dpmpp-2m", "sampler.name=euler"),
        ("model=controlnet", "model=distilled"),
        ("training.n_substeps=0", "n_substeps"),
        ("training.teacher=nowhere.safetensors", "nowhere"),
    ],
)
def test_what_cannot_be_distilled_is_refused(teacher_path, option, named):
    with pytest.raises(InputError, match=named):
        student_of(teacher_path, option)


@pytest.mark.parametrize("limits", [(2.0, 2.0), (-1.0, 2.0), (1.0, 200.0)])
def test_wrong_scales_are_refused(limits):
    with pytest.raises(InputError):
        GuidanceHead(16, 4, 1, *limits)
