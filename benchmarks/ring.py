"""Measure how long single hits of each material ring in synthetic clips: ``python -m benchmarks.ring``.

Prints the median decay of each material, where the stick leaves it at once, as a Markdown table.
`video2audio.ring.DECAYS_S` holds these values.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.tools import table
from common.errors import user_errors
from common.options import add_clips, add_seed, command_parser
from hits.level import measure_hits
from synthetic import SyntheticSpec, render_clip

ALONE_S = 0.3  # from a hit to the next, which would hide how it rings


def median_decays_s(n_clips: int, seed: int) -> dict[str, tuple[float, int]]:
    """Return the median decay in seconds and the number of hits of each material in synthetic clips."""
    decays_s = defaultdict[str, list[float]](list)
    for index in tqdm(range(n_clips), desc="rendering", unit="clip"):
        clip = render_clip(SyntheticSpec(duration_s=6.0), seed, index, picture=False)
        assert clip.envelope is not None
        strikes = sorted(clip.plan.strikes, key=lambda strike: strike.time_s)
        hits = measure_hits(clip.envelope.rms, torch.tensor([strike.time_s for strike in strikes]))
        ends_s = [strike.time_s for strike in strikes[1:]] + [np.inf]
        for strike, end_s, decay_s in zip(strikes, ends_s, hits.decay_s.tolist(), strict=True):
            is_free = strike.action == "hit" and strike.dwell_s == 0 and end_s - strike.time_s > ALONE_S
            if is_free and np.isfinite(decay_s):
                decays_s[strike.material].append(decay_s)
    return {name: (float(np.median(found)), len(found)) for name, found in sorted(decays_s.items())}


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = command_parser("python -m benchmarks.ring", __doc__)
    add_clips(parser, default=1500)
    add_seed(parser, "the clips")
    args = parser.parse_args(arguments)
    found = median_decays_s(args.clips, args.seed)
    rows = [(name, f"{decay_s:.3f}", str(n_hits)) for name, (decay_s, n_hits) in found.items()]
    sys.stdout.write(table(["material", "decay to 1 / e (s)", "hits"], rows))


if __name__ == "__main__":
    main()
