"""The control branch: what it copies, that it starts without effect, and how its residuals act."""

import pytest
import torch

from common.errors import InputError
from stable_foley.controlnet import ControlledDiT, ControlNet
from stable_foley.dit import DiT

CONFIG = {
    "io_channels": 8,
    "embed_dim": 64,
    "depth": 4,
    "num_heads": 1,
    "cond_token_dim": 64,
    "project_cond_tokens": False,
    "global_cond_dim": 32,
}


def randomised_dit(**changes):
    """A transformer in which every layer does something (the library starts many at zero)."""
    torch.manual_seed(0)
    dit = DiT(**CONFIG | changes)
    for parameter in dit.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return dit


def inputs(n_steps=12):
    generator = torch.Generator().manual_seed(1)
    return {
        "x": torch.randn(2, 8, n_steps, generator=generator),
        "t": torch.rand(2, generator=generator),
        "tokens": torch.randn(2, 3, 64, generator=generator),
        "global_embed": torch.randn(2, 32, generator=generator),
    }


def control(n_steps=12):
    return torch.randn(2, 8, n_steps, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("changes", [{}, {"patch_size": 4}, {"global_cond_type": "adaLN"}])
def test_a_fresh_control_branch_changes_nothing_bit_for_bit(changes):
    dit = randomised_dit(**changes)
    controlled = ControlledDiT(dit, ControlNet(dit, 3))
    with torch.no_grad():
        assert torch.equal(controlled(**inputs(), control=control()), dit(**inputs()))


def test_weights_are_copied_and_not_shared():
    dit = randomised_dit()
    branch = ControlNet(dit, 2)
    weight = "transformer.layers.1.self_attn.to_qkv.weight"
    assert torch.equal(branch.get_parameter(weight), dit.get_parameter(weight))
    with torch.no_grad():
        branch.get_parameter(weight).zero_()
    assert dit.get_parameter(weight).abs().sum() > 0
    assert branch.depth == 2
    assert not any(name.startswith(("postprocess_conv", "transformer.project_out")) for name in branch.state_dict())


def trained_branch(dit, n_layers=3):
    branch = ControlNet(dit, n_layers)
    for conv in (branch.conv_in, *branch.conv_outs):
        torch.nn.init.normal_(conv.weight, std=0.2)
    return branch


@pytest.mark.parametrize(("global_cond_type", "n_tokens"), [("prepend", 13), ("adaLN", 12)])
def test_residuals_are_added_before_the_first_layers(global_cond_type, n_tokens):
    dit = randomised_dit(global_cond_type=global_cond_type)
    branch = trained_branch(dit)
    given = inputs()
    seen = {}
    for index, layer in enumerate(dit.transformer.layers):
        layer.register_forward_pre_hook(
            lambda _m, args, index=index: seen.setdefault(index, []).append(args[0].detach().clone())
        )
    with torch.no_grad():
        residuals = branch.residuals(given["x"], given["t"], control(), given["tokens"], given["global_embed"])
        dit(**given)
        dit(**given, control_residuals=residuals)
    plain, controlled = seen[0]
    assert residuals[0].shape == (2, n_tokens, 64)
    torch.testing.assert_close(controlled, plain + residuals[0])


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_each_residual_reaches_its_own_layer(index):
    """A residual for one layer leaves the inputs of earlier layers alone and changes that one's by itself."""
    dit = randomised_dit()
    residuals = [torch.full((2, 13, 64), float(i == index)) for i in range(4)]
    seen = []
    for layer in dit.transformer.layers:
        layer.register_forward_pre_hook(lambda _m, args: seen.append(args[0].detach().clone()))
    with torch.no_grad():
        dit(**inputs())
        dit(**inputs(), control_residuals=residuals)
    plain, controlled = seen[:4], seen[4:]
    assert all(torch.equal(a, b) for a, b in zip(plain[:index], controlled[:index], strict=True))
    torch.testing.assert_close(controlled[index], plain[index] + 1)


def test_strength_scales_the_residuals_and_zero_switches_them_off():
    dit = randomised_dit()
    controlled = ControlledDiT(dit, trained_branch(dit))
    with torch.no_grad():
        off = controlled(**inputs(), control=control(), control_strength=0.0)
        weak = controlled(**inputs(), control=control(), control_strength=1e-3)
        full = controlled(**inputs(), control=control())
        assert torch.equal(off, dit(**inputs()))
    assert 0 < (weak - off).abs().max() < 0.05 * (full - off).abs().max()


@pytest.mark.parametrize("global_cond_type", ["prepend", "adaLN"])
def test_gradient_checkpointing_gives_the_same_gradients(global_cond_type):
    gradients = []
    for checkpointing in (False, True):
        dit = randomised_dit(gradient_checkpointing=checkpointing, global_cond_type=global_cond_type)
        branch = trained_branch(dit)
        ControlledDiT(dit, branch)(**inputs(), control=control()).square().mean().backward()
        gradients.append({name: p.grad for name, p in branch.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)
        assert gradient.abs().sum() > 0, f"{name} has no gradient"


@pytest.mark.parametrize("n_layers", [0, 5, -1])
def test_an_impossible_number_of_layers_is_refused(n_layers):
    with pytest.raises(InputError, match="1 to 4"):
        ControlNet(randomised_dit(), n_layers)
