"""Which models a session is made with, as its session.json names them, and their loading."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError
from session.model import Session
from stable_foley.checkpoint import BUNDLED
from video2audio.pipeline import FoleyPipeline
from video2rms.predict import BUNDLED_VIDEO2RMS

BUNDLED_NAME = "bundled"
"""Name of a bundled model, so that a session may be moved to another machine."""


def model_record(pipeline: FoleyPipeline) -> dict[str, Any]:
    """Return what a session keeps of its models: files, fingerprints, configuration and precision."""
    record = {key: pipeline.origin[key] for key in ("checkpoint", "video2rms", "set", "dtype", "models")}
    names = {BUNDLED: BUNDLED_NAME, BUNDLED_VIDEO2RMS: BUNDLED_NAME, None: None}
    for key in ("checkpoint", "video2rms"):
        record[key] = names.get(record[key], str(record[key]))
    return record


def load_models(session: Session, device: str | None = None) -> FoleyPipeline:
    """Load the model that generates the sounds of a session.

    Args:
        session: The session.
        device: See `FoleyPipeline.from_checkpoint`.

    Raises:
        InputError: It is not there, or another one.
    """
    model = session.model
    named = model["checkpoint"]
    checkpoint = BUNDLED if named == BUNDLED_NAME else None if named is None else Path(named)
    pipeline = FoleyPipeline.from_checkpoint(checkpoint, None, device, model["dtype"], model["set"])
    if not generates_for(pipeline.origin, session):
        raise InputError(f"{checkpoint} is another model than the session was made with: restore that file")
    return pipeline


def generates_for(origin: Mapping[str, Any], session: Session) -> bool:
    """Return whether loaded models, by their origin, are those that generate the sounds of a session."""
    model = session.model
    same = all(origin.get(key) == model[key] for key in ("set", "dtype"))
    return same and origin["models"].get("checkpoint") == model["models"].get("checkpoint")
