"""Procedural Greatest Hits: strikes with a drumstick, rendered as sound and picture with exact ground truth.

Data flow: `spec` (form of a clip) → `plan` (its events, in a `scene`) → `sound` and `picture`, each from the plan and
its own random stream → `clip` → `dataset` and `foley` (for training) or `python -m synthetic` (to disk). `footage`
films a plan as cameras and editors do, at all frame rates (to train Video2RMS).
"""

import sys

if sys.argv[:1] == ["-m"]:  # Python is still locating the module to run: install the handler before the slow imports
    from common.errors import end_on_interrupt

    end_on_interrupt()

from synthetic.clip import SyntheticClip, render_clip
from synthetic.dataset import SyntheticDataModule, SyntheticDataset
from synthetic.foley import SyntheticChunk, SyntheticFoleyModule, SyntheticSegmentModule, foley_item
from synthetic.footage import Footage, plain_footage, render_footage
from synthetic.plan import Lure, Plan, Strike
from synthetic.spec import SAMPLE_RATE_HZ, SyntheticSpec

__all__ = [
    "SAMPLE_RATE_HZ",
    "Footage",
    "Lure",
    "Plan",
    "Strike",
    "SyntheticChunk",
    "SyntheticClip",
    "SyntheticDataModule",
    "SyntheticDataset",
    "SyntheticFoleyModule",
    "SyntheticSegmentModule",
    "SyntheticSpec",
    "foley_item",
    "plain_footage",
    "render_clip",
    "render_footage",
]
