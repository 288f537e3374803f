"""The demo, as `make demo` runs it."""

import re

from demo import main
from media.probe import probe


def test_the_demo_makes_a_silent_video_sound(tmp_path, capfd):
    main(["--output-dir", str(tmp_path)])
    assert not probe(tmp_path / "reference" / "strikes.mp4").has_sound
    assert probe(tmp_path / "strikes.mp4").has_sound
    kinds = ("wav", "mp4", "envelope.csv", "png", "json")
    assert {f"strikes.{kind}" for kind in kinds} <= {path.name for path in tmp_path.iterdir()}
    found = re.search(r"Onset F1 against the (\d+) strikes: (\S+)\. Generating", capfd.readouterr().out)
    assert float(found[2]) >= 0.9
