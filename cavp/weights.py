"""Reading CAVP's weights: from a file or a state dict, whatever wraps it, at whatever size it was trained."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cavp.audio_tower import Cnn14
from cavp.model import Cavp
from cavp.video_tower import SlowOnly

FIRST_VIDEO_KEY = "video_encoder.conv1.conv.weight"
AUDIO_KEYS = ("spec_encoder.", "logit_scale")
"""What keys of the published weights begin with that a model without audio tower has no use for."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file written by `torch.save`, without running any code that it may hold.

    Args:
        path: a `.ckpt`, `.pt` or `.pth` file.

    Returns:
        The state dict, taken out of a `state_dict` entry where the file has one.

    Raises:
        ValueError: the file cannot be read, or holds no dictionary.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"The weights {path} cannot be read ({error.strerror}): check the path.") from error
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"The file {path} is not a readable torch checkpoint ({reason}): download it again, or save its state "
            "dict alone with torch.save."
        ) from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ValueError(f"The file {path} holds a {kind} where a dictionary of weights was expected: check the path.")
    return content.get("state_dict", content)


def cavp_from_state_dict(state: Mapping[str, Tensor], *, with_audio: bool = False) -> Cavp:
    """Build CAVP at the size of its weights and load them.

    Args:
        state: key → weights; keys may carry a common prefix (`module.` in Diff-Foley's file,
            `model.conditioner.conditioners.frames.stage1_model.` in Stable-Foley's) and have others beside them.
        with_audio: whether to build the audio tower too; without it, its weights are left aside.

    Returns:
        The model in eval mode.

    Raises:
        ValueError: there is no CAVP in `state`, or more than one, or its keys do not fit.
    """
    prefixes = [key.removesuffix(FIRST_VIDEO_KEY) for key in state if key.endswith(FIRST_VIDEO_KEY)]
    if len(prefixes) != 1:
        raise ValueError(f"{len(prefixes)} keys end in {FIRST_VIDEO_KEY} where one was expected: give weights of CAVP.")
    own = {key.removeprefix(prefixes[0]): value for key, value in state.items() if key.startswith(prefixes[0])}
    if not with_audio:
        own = {key: value for key, value in own.items() if not key.startswith(AUDIO_KEYS)}
    try:
        model = _untrained(own, with_audio=with_audio)
    except KeyError as error:
        raise ValueError(f"The weights lack {error.args[0]}: give weights of CAVP that are complete.") from error
    _load_exactly(model, own)
    return model.eval()


def _load_exactly(model: Cavp, state: Mapping[str, Tensor]) -> None:
    """Load all weights and nothing else; otherwise list the first ten keys that are missing, unknown or misshapen."""
    expected = model.state_dict()
    wrong = [f"{key} is missing" for key in expected.keys() - state.keys()]
    wrong += [f"{key} is unknown" for key in state.keys() - expected.keys()]
    wrong += [
        f"{key} has shape {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected.keys() & state.keys()
        if state[key].shape != expected[key].shape
    ]
    if wrong:
        listed = "; ".join(sorted(wrong)[:10])
        raise ValueError(
            f"The weights do not fit CAVP in {len(wrong)} keys (the first: {listed}): give weights of CAVP."
        )
    model.load_state_dict(state)


def _untrained(state: Mapping[str, Tensor], *, with_audio: bool) -> Cavp:
    """Build the model whose sizes the weights show."""
    embed_dim = state["video_project_head.weight"].shape[0]
    audio_tower = None
    if with_audio:
        audio_tower = Cnn14(
            base_channels=state["spec_encoder.conv_block1.conv1.weight"].shape[0],
            n_mels=state["spec_encoder.bn.weight"].shape[0],
            embed_dim=state["spec_encoder.final_project.weight"].shape[0],
        )
    return Cavp(SlowOnly(base_channels=state[FIRST_VIDEO_KEY].shape[0]), audio_tower, embed_dim=embed_dim)


def load_cavp(path: str | Path, *, with_audio: bool = False) -> Cavp:
    """Read CAVP from a file, for instance Diff-Foley's `cavp_epoch66.ckpt`.

    Args:
        path: a file written by `torch.save`.
        with_audio: whether to build the audio tower too.

    Returns:
        The model in eval mode.

    Raises:
        ValueError: the file cannot be read, or its weights are not CAVP's.
    """
    return cavp_from_state_dict(read_checkpoint(path), with_audio=with_audio)
