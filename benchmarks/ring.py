"""Measure how single hits of each material ring in synthetic clips: ``python -m benchmarks.ring``.

The hits are dry, as Foley is recorded close to the microphone and gets its room in the mix. Prints the medians of each
material, where the stick leaves it at once, as a Markdown table. `video2audio.ring.RINGS` holds these values.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from benchmarks.tools import table
from common.errors import user_errors
from common.options import add_clips, add_seed, command_parser
from synthetic import SAMPLE_RATE_HZ, SyntheticSpec, render_clip
from synthetic.sound import draw_voice, strike_sound
from video2audio.ring import Ring, median_ring, ring_of_hit

TAIL_S = 1.0  # of silence after a hit, in which it is known to be over


def median_rings(n_clips: int, seed: int) -> dict[str, tuple[Ring, int]]:
    """Return the median ring and the number of hits of each material in synthetic clips."""
    rings = defaultdict[str, list[Ring]](list)
    for index in tqdm(range(n_clips), desc="rendering", unit="clip"):
        plan = render_clip(SyntheticSpec(duration_s=6.0), seed, index, picture=False, sound=False).plan
        rng = np.random.default_rng((seed, index))
        voices = [draw_voice(np.random.default_rng(thing.seed), thing) for thing in plan.scene.things]
        for strike in plan.strikes:
            if strike.action == "hit" and strike.dwell_s == 0:
                dry = np.pad(strike_sound(voices[strike.thing], strike, rng), (0, round(TAIL_S * SAMPLE_RATE_HZ)))
                if ring := ring_of_hit(dry[np.abs(dry).argmax() :], SAMPLE_RATE_HZ):
                    rings[strike.material].append(ring)
    return {name: (median_ring(found), len(found)) for name, found in sorted(rings.items())}


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = command_parser("python -m benchmarks.ring", __doc__)
    add_clips(parser, default=1500)
    add_seed(parser, "the clips")
    args = parser.parse_args(arguments)
    found = median_rings(args.clips, args.seed)
    rows = [(name, f"{ring.decay_s:.3f}", f"{ring.share:.2f}", str(n)) for name, (ring, n) in found.items()]
    sys.stdout.write(table(["material", "decay to 1 / e (s)", "share of the ring", "hits"], rows))


if __name__ == "__main__":
    main()
