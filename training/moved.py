"""Names that classes and functions had when earlier checkpoints were written. Add a line whenever one of them moves."""

from typing import Any

MOVED = {
    "data.clip.ClipSpec": "media.clip.ClipSpec",
    "data.envelope.fine_envelope": "media.envelope.fine_envelope",
    "data.envelope.instant_envelope": "media.envelope.instant_envelope",
    "data.synthetic.SyntheticSpec": "synthetic.SyntheticSpec",
    "stable_foley.conditioners.clap.clap_encoder": "clap.encoder.clap_encoder",
}
"""Old name → new name, of what a configuration in a checkpoint may build."""


def with_current_names(part: Any) -> Any:
    """Return a copy of a nested configuration in which every ``_target_`` has the name of today."""
    if isinstance(part, list):
        return [with_current_names(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    target = part.get("_target_")
    renamed = {"_target_": MOVED[target]} if isinstance(target, str) and target in MOVED else {}
    return {key: with_current_names(value) for key, value in part.items()} | renamed
