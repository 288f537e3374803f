"""Owns the conversion of inputs to conditions; training, generation and the feature cache all use it.

raw inputs → ``encode`` → features → ``draw`` → embeddings → ``forward`` → ``Conditions``; each by the id of a
conditioner.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from common.errors import InputError
from data.batch import FoleyBatch
from stable_foley.codec import LatentCodec
from stable_foley.conditioners.base import Conditioner, Place, SoundPrompt
from stable_foley.conditioners.envelope import EnvelopeConditioner

CONTROL_ID = "envelope"
"""Id of the conditioner that the control branch reads."""
FRAMES_ID, PROMPT_ID = "frames", "audio"
SECONDS_IDS = ("seconds_start", "seconds_total")


@dataclass(frozen=True)
class Conditions:
    """Conditions of the transformer.

    Attributes:
        tokens: cross-attention tokens (B, T, D), or None.
        global_embed: global condition (B, D), or None.
        control: control latent (B, L, Z), or None.
    """

    tokens: Tensor | None = None
    global_embed: Tensor | None = None
    control: Tensor | None = None

    def expand(self, n_clips: int) -> "Conditions":
        """Return conditions for ``n_clips`` clips; these must be for one clip or for as many."""
        parts = (self.tokens, self.global_embed, self.control)
        return Conditions(*(None if part is None else part.expand(n_clips, *part.shape[1:]) for part in parts))

    def then(self, other: "Conditions") -> "Conditions":
        """Return a batch of these clips followed by those of ``other``, which has the same kinds of conditions."""
        pairs = (
            (self.tokens, other.tokens),
            (self.global_embed, other.global_embed),
            (self.control, other.control),
        )
        return Conditions(*(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs))


class Conditioners(nn.Module):
    """The conditioners of a model.

    Args:
        conditioners: conditioners by id; tokens with the same place are joined in this order.
        codec: the model's latent codec, passed to each conditioner.

    Raises:
        InputError: a value is not a ``Conditioner``, or the control branch's conditioner is not under ``envelope``.
    """

    def __init__(self, conditioners: Mapping[str, nn.Module], codec: LatentCodec) -> None:
        super().__init__()
        for key, conditioner in conditioners.items():
            if not isinstance(conditioner, Conditioner):
                raise InputError(
                    f"conditioners.{key} is a {type(conditioner).__name__}; expected a class that is derived from "
                    "stable_foley.conditioners.base.Conditioner: correct its _target_."
                )
            if (conditioner.place == "control") != (key == CONTROL_ID):
                raise InputError(
                    f"conditioners.{key} is a {type(conditioner).__name__}; expected a conditioner for the control "
                    f"branch under {CONTROL_ID!r}, and only there: rename it."
                )
            conditioner.attach(codec)
        self.conditioners = nn.ModuleDict(dict(conditioners))  # the name in published checkpoints

    @property
    def by_id(self) -> Mapping[str, Conditioner]:
        """The conditioners by id, in order."""
        return cast("Mapping[str, Conditioner]", dict(self.conditioners.items()))

    @property
    def prompts(self) -> list[str]:
        """Ids of the conditioners that training drops at random and guidance acts on."""
        return [key for key, conditioner in self.by_id.items() if conditioner.is_prompt]

    @property
    def sound_prompt(self) -> SoundPrompt:
        """The conditioner of sound and text prompts.

        Raises:
            InputError: this model has none.
        """
        found = self.by_id.get(PROMPT_ID)
        if not isinstance(found, SoundPrompt):
            raise InputError("This model has no prompt encoder; leave out the prompts or use another checkpoint.")
        return found

    @property
    def envelope(self) -> EnvelopeConditioner:
        """The conditioner that the control branch reads.

        Raises:
            InputError: this model has none.
        """
        if CONTROL_ID not in self.by_id:
            raise InputError("This checkpoint has no control branch; give one from exp=train_gh_controlnet.yaml.")
        return cast("EnvelopeConditioner", self.by_id[CONTROL_ID])

    @torch.no_grad()
    def encode(self, raw: Mapping[str, Any], n_samples: int) -> dict[str, Tensor]:
        """Run the frozen encoders.

        Args:
            raw: inputs by id, such as frames (B, T, 3, H, W) in 0..1, audio: sound (B, C, N), envelope: an
                ``Envelope``, seconds (B,).
            n_samples: padded length of the sound.

        Raises:
            InputError: this model has no conditioner for an input.
        """
        for key in raw:
            if key not in self.by_id:
                raise InputError(f"This model has no {key!r} conditioner, only {', '.join(self.by_id)}; leave it out.")
        return {key: self.by_id[key].encode(value, n_samples) for key, value in raw.items()}

    @torch.no_grad()
    def encode_recorded(self, batch: FoleyBatch, n_samples: int, ids: Collection[str]) -> dict[str, Tensor]:
        """Encode the conditions of recordings from their own data.

        Args:
            batch: recordings, on the model's device.
            n_samples: padded length of the sound.
            ids: ids of the conditioners to use.
        """
        raw = {}
        for key in ids:
            conditioner = self.by_id[key]
            raw[key] = conditioner.from_recording(getattr(batch, conditioner.reads or key))
        return self.encode(raw, n_samples)

    def draw(self, features: Mapping[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Turn features into embeddings; ids without a conditioner are skipped."""
        return {key: self.by_id[key].draw(value, generator) for key, value in features.items() if key in self.by_id}

    def draw_recorded(
        self, features: Mapping[str, Tensor], batch: FoleyBatch, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Turn features of recordings into embeddings, with those of ``with_cheap``."""
        return self.draw(self.with_cheap(features, batch), generator)

    def with_cheap(self, features: Mapping[str, Tensor], batch: FoleyBatch) -> dict[str, Tensor]:
        """Return features of recordings with those that are too cheap to cache, see ``encoder_id``."""
        cheap = [key for key, each in self.by_id.items() if each.encoder_id is None and key not in features]
        return {**self.encode_recorded(batch, 0, cheap), **features}

    def filled(
        self, embeddings: Mapping[str, Tensor], n_clips: int, n_frames: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Add placeholders for prompts without input.

        Args:
            embeddings: embeddings by id, of the conditions with input.
            n_clips: number of clips B.
            n_frames: video frames of a clip.

        Returns:
            Embeddings of all conditioners by id, and by id which clips have the condition (B,), for ``forward``.

        Raises:
            InputError: an input that is not a prompt is missing.
        """
        absent = [key for key in self.by_id if key not in embeddings]
        for key in absent:
            if not self.by_id[key].is_prompt:
                raise InputError(f"This model needs the condition {key!r}; give it.")
        stand_ins = {key: self.by_id[key].absent(n_clips, n_frames) for key in absent}
        return {**embeddings, **stand_ins}, self.dropped(absent, n_clips)

    def dropped(self, ids: Collection[str], n_clips: int) -> dict[str, Tensor]:
        """Return the argument ``kept`` of ``forward`` for clips without these conditions: (B,) of False by id."""
        device = next(self.parameters()).device
        return {key: torch.zeros(n_clips, dtype=torch.bool, device=device) for key in ids}

    def forward(self, embeddings: Mapping[str, Tensor], kept: Mapping[str, Tensor] | None = None) -> Conditions:
        """Map embeddings to conditions; missing ids are skipped.

        Args:
            embeddings: embeddings by id; those of the global condition are required even if no clip has them.
            kept: which clips have each condition (B,), by id; None, or a missing id: all.
        """
        kept = kept or {}
        tokens: dict[Place, list[Tensor]] = {"cross_attention": [], "global": [], "control": []}
        for key, conditioner in self.by_id.items():
            if key in embeddings:
                tokens[conditioner.place].append(conditioner.tokens(embeddings[key], kept.get(key)))
        cross, global_, control = tokens["cross_attention"], tokens["global"], tokens["control"]
        return Conditions(
            tokens=torch.cat(cross, dim=1) if cross else None,
            global_embed=torch.cat(global_, dim=-1).squeeze(1) if global_ else None,
            control=control[0] if control else None,
        )

    def unprompted(self, embeddings: Mapping[str, Tensor]) -> Conditions | None:
        """Return the conditions with all prompts dropped, for guidance; None if there are no prompts."""
        prompts = [key for key in self.prompts if key in embeddings]
        if not prompts:
            return None
        return self(embeddings, self.dropped(prompts, len(embeddings[prompts[0]])))
