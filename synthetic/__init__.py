"""Procedural Greatest Hits: strikes with a drumstick, as sound and picture with exact truth, in any amount.

The way through: `spec` (form) → `plan` (what happens, in a `scene`) → `sound` and `picture`, each from the plan and a
random stream of its own → `clip` → `dataset`, `foley` (into training) or `python -m synthetic` (onto disk).
"""

import sys

if sys.argv[:1] == ["-m"]:  # as long as Python looks for the module to run: before the imports, which take seconds
    from common.errors import end_on_interrupt

    end_on_interrupt()

from synthetic.clip import SyntheticClip, render_clip
from synthetic.dataset import SyntheticDataModule, SyntheticDataset
from synthetic.foley import SyntheticChunk, SyntheticFoleyModule, SyntheticSegmentModule, foley_item
from synthetic.plan import Lure, Plan, Strike
from synthetic.spec import SAMPLE_RATE_HZ, SyntheticSpec

__all__ = [
    "SAMPLE_RATE_HZ",
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
    "render_clip",
]
