"""Owns how inputs become what the transformer reads; training, generation and the cache of features all come here.

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
from stable_foley.backbone import LatentCodec
from stable_foley.conditioners.base import Conditioner, Place, SoundPrompt
from stable_foley.conditioners.envelope import EnvelopeConditioner

CONTROL_ID = "envelope"
"""Id of the conditioner that the control branch reads."""
FRAMES_ID, PROMPT_ID = "frames", "audio"
SECONDS_IDS = ("seconds_start", "seconds_total")


@dataclass(frozen=True)
class Conditions:
    """What the transformer is conditioned on.

    Attributes:
        tokens: cross-attention tokens (B, T, D), or None.
        global_embed: global condition (B, D), or None.
        control: control latent (B, L, Z), or None.
    """

    tokens: Tensor | None = None
    global_embed: Tensor | None = None
    control: Tensor | None = None

    def expand(self, n_clips: int) -> "Conditions":
        """Return conditions for ``n_clips`` clips, of one clip or of as many."""
        parts = (self.tokens, self.global_embed, self.control)
        return Conditions(*(None if part is None else part.expand(n_clips, *part.shape[1:]) for part in parts))

    def then(self, other: "Conditions") -> "Conditions":
        """Return a batch of these clips and then those of ``other``, which has the same kinds of conditions."""
        pairs = (
            (self.tokens, other.tokens),
            (self.global_embed, other.global_embed),
            (self.control, other.control),
        )
        return Conditions(*(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs))


class Conditioners(nn.Module):
    """The conditioners of a model.

    Args:
        conditioners: by id; tokens of the same place follow each other in this order.
        codec: the model's latent codec, handed to each.

    Raises:
        InputError: one is no ``Conditioner``, or another than ``envelope`` is for the control branch.
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
        self.conditioners = nn.ModuleDict(dict(conditioners))  # the name that published checkpoints give it

    @property
    def by_id(self) -> Mapping[str, Conditioner]:
        """The conditioners by id, in order."""
        return cast("Mapping[str, Conditioner]", dict(self.conditioners.items()))

    @property
    def prompts(self) -> list[str]:
        """Ids of those that training drops and guidance acts on."""
        return [key for key, conditioner in self.by_id.items() if conditioner.is_prompt]

    @property
    def sound_prompt(self) -> SoundPrompt:
        """The conditioner of prompts in sound and words.

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
            raise InputError(
                "This checkpoint has no control branch; give one that exp=train_gh_controlnet.yaml trained."
            )
        return cast("EnvelopeConditioner", self.by_id[CONTROL_ID])

    @torch.no_grad()
    def encode(self, raw: Mapping[str, Any], n_samples: int) -> dict[str, Tensor]:
        """Run the frozen encoders.

        Args:
            raw: inputs by id, such as frames (B, T, 3, H, W) in 0..1, audio: sound (B, C, N), envelope: an
                ``Envelope``, seconds (B,).
            n_samples: padded length of the sound.

        Raises:
            InputError: an input for which this model has no conditioner.
        """
        for key in raw:
            if key not in self.by_id:
                raise InputError(f"This model has no {key!r} conditioner, only {', '.join(self.by_id)}; leave it out.")
        return {key: self.by_id[key].encode(value, n_samples) for key, value in raw.items()}

    @torch.no_grad()
    def encode_recorded(self, batch: FoleyBatch, n_samples: int, ids: Collection[str]) -> dict[str, Tensor]:
        """Encode what recordings themselves give.

        Args:
            batch: on the model's device.
            n_samples: padded length of the sound.
            ids: of the conditioners wanted.
        """
        raw = {}
        for key in ids:
            conditioner = self.by_id[key]
            raw[key] = conditioner.from_recording(getattr(batch, conditioner.reads or key))
        return self.encode(raw, n_samples)

    def draw(self, features: Mapping[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Turn features into embeddings; ids that are no conditioner's are left out."""
        return {key: self.by_id[key].draw(value, generator) for key, value in features.items() if key in self.by_id}

    def draw_recorded(
        self, features: Mapping[str, Tensor], batch: FoleyBatch, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Turn features of recordings into embeddings, with those that no cache keeps, see ``encoder_id``."""
        cheap = [key for key, each in self.by_id.items() if each.encoder_id is None and key not in features]
        return self.draw({**self.encode_recorded(batch, 0, cheap), **features}, generator)

    def filled(
        self, embeddings: Mapping[str, Tensor], n_clips: int, n_frames: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Put stand-ins where a prompt has no input.

        Args:
            embeddings: by id, of those that have one.
            n_clips: number of clips B.
            n_frames: video frames of a clip.

        Returns:
            Embeddings by id, of all conditioners, and by id which clips keep them (B,), for ``forward``.

        Raises:
            InputError: an input is missing that is no prompt.
        """
        absent = [key for key in self.by_id if key not in embeddings]
        for key in absent:
            if not self.by_id[key].is_prompt:
                raise InputError(f"This model needs the condition {key!r}; give it.")
        stand_ins = {key: self.by_id[key].absent(n_clips, n_frames) for key in absent}
        return {**embeddings, **stand_ins}, self.dropped(absent, n_clips)

    def dropped(self, ids: Collection[str], n_clips: int) -> dict[str, Tensor]:
        """Return, for ``forward``, that no clip keeps these conditions."""
        device = next(self.parameters()).device
        return {key: torch.zeros(n_clips, dtype=torch.bool, device=device) for key in ids}

    def forward(self, embeddings: Mapping[str, Tensor], kept: Mapping[str, Tensor] | None = None) -> Conditions:
        """Map embeddings to what the transformer reads; ids that are not there are left out.

        Args:
            embeddings: by id; one that is part of the global condition has to be there, kept or not.
            kept: by id, which of the clips keep that condition (B,); None, or an id that is not there: all.
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
        """Return the other half of guidance: the conditions with all prompts dropped; None if there are no prompts."""
        prompts = [key for key in self.prompts if key in embeddings]
        if not prompts:
            return None
        return self(embeddings, self.dropped(prompts, len(embeddings[prompts[0]])))
