"""What is measured: each row times this project's way, and in turn with it another's where there is one.

Heavy modules are imported where they are used, since the peak memory of a process counts that of the one that started
it.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.tools import seconds_in_turn

REPOSITORY = Path(__file__).resolve().parents[2]
N_PAIRS = 5
FILM_RATE_HZ = 30.0


@dataclass(frozen=True)
class Measured:
    """Times of a row.

    Attributes:
        ours_s: seconds of this project's way, one for each round.
        other: name of the other way; None if there is none.
        others_s: its seconds, each measured next to one of ours.
        flop: floating-point operations of this project's way, where they are counted.
        ceiling_flops: operations a second of matrix products alone, in the same type on the same machine.
        in_processes: whether the work is done in processes of its own.
    """

    ours_s: list[float]
    other: str | None = None
    others_s: list[float] = field(default_factory=list)
    flop: float | None = None
    ceiling_flops: float | None = None
    in_processes: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        work: what is done.
        measure: measures it.
        is_quick: whether it is part of ``QUICK=1``.
    """

    work: str
    measure: Callable[[], Measured]
    is_quick: bool = True


def _in_turn(ways: Mapping[str, Callable[[], Any]], n_rounds: int = N_PAIRS, **more: Any) -> Measured:
    """Time one or two ways; a round before the first one warms up and does not count."""
    times_s = {name: each[1:] for name, each in seconds_in_turn(ways, 1 + n_rounds).items()}
    (_, ours_s), *others = times_s.items()
    other, others_s = others[0] if others else (None, [])
    return Measured(ours_s, other, others_s, **more)


def _run(*words: str) -> Callable[[], None]:
    """Return a function that runs a Python command in a process of its own."""

    def run() -> None:
        subprocess.run([sys.executable, *words], cwd=REPOSITORY, check=True, capture_output=True)

    return run


def _imports() -> Measured:
    ours, other = "import video2audio.command", "import stable_audio_tools.inference.generation"
    return _in_turn({"ours": _run("-c", ours), "stable-audio-tools": _run("-c", other)}, 3, in_processes=True)


def _film(folder: Path, duration_s: float) -> Path:
    """Write a video of 320x180 pixels in which a square moves."""
    import torch

    from media.writing import write_video

    cycle = torch.full((16, 3, 180, 320), 60, dtype=torch.uint8)
    for number, frame in enumerate(cycle):
        place = round(70 + 60 * abs(number / 8 - 1))
        frame[:, place : place + 40, 140:180] = 200
    frames = [cycle[number % 16] for number in range(round(duration_s * FILM_RATE_HZ))]
    write_video(folder / "film.mp4", frames, FILM_RATE_HZ)
    return folder / "film.mp4"


def _inference(duration_s: float, n_rounds: int) -> Measured:
    """Time infer.py as a whole, with the bundled model."""
    with tempfile.TemporaryDirectory() as name:
        film = str(_film(Path(name), duration_s))
        run = _run("infer.py", "--video", film, "--output-dir", f"{name}/sounds", "--overwrite", "--device", "cpu")
        return _in_turn({"ours": run}, n_rounds, in_processes=True)


def _sampling(backbone: str, n_steps: int, dtype: str, n_rounds: int = N_PAIRS) -> Measured:
    """Time sampling with guidance without an envelope, which stable-audio-tools does too, on the same weights."""
    from benchmarks.speed import models

    model = models.load(backbone, dtype)
    ours = models.sampling(model, n_steps)
    ways = {"ours": ours, "stable-audio-tools": models.their_sampling(model, n_steps)}
    return _in_turn(ways, n_rounds, flop=models.flop(ours), ceiling_flops=models.ceiling_flops(model))


def _controlled_step(backbone: str, dtype: str) -> Measured:
    """Time a sampling step with guidance and the control branch, and the same without the branch."""
    from benchmarks.speed import models

    model = models.load(backbone, dtype)
    ours = models.step(model, controlled=True)
    ways = {"ours": ours, "without control": models.step(model, controlled=False)}
    return _in_turn(ways, flop=models.flop(ours), ceiling_flops=models.ceiling_flops(model))


def _step_in(backbone: str, dtype: str, other: str) -> Measured:
    """Time a sampling step with guidance and the control branch in two precisions."""
    from benchmarks.speed import models

    steps = {each: models.step(models.load(backbone, each), controlled=True) for each in (dtype, other)}
    return _in_turn({"ours": steps[dtype], other: steps[other]})


def _training_both() -> Measured:
    """Time a training step of all weights of mini's transformer from features, 8 clips, in float32."""
    from benchmarks.speed import models

    module, batch = models.training("exp=mini_backbone", 8)
    ways = {
        "ours": models.training_step(module, batch),
        "stable-audio-tools": models.their_training_step(module, batch),
    }
    return _in_turn(ways, ceiling_flops=models.ceiling_flops(module.model))


def _training_full() -> Measured:
    """Time a training step of the control branch at full size from features, one clip, in mixed bfloat16."""
    import torch

    from benchmarks.speed import models

    module, batch = models.training("exp=train_gh_controlnet", 1, "backbone=stable_audio_open")
    run = models.training_step(module, batch, torch.bfloat16)
    return _in_turn({"ours": run}, 3, ceiling_flops=models.ceiling_flops(module.model, torch.bfloat16))


def _codec(backbone: str, way: str, n_rounds: int) -> Measured:
    """Time encoding or decoding of 10 s."""
    import torch

    from benchmarks.speed import models

    model = models.load(backbone, "float32")
    codec, n_samples = model.pretransform, 10 * model.pretransform.sample_rate_hz
    wave = 0.1 * torch.randn(1, codec.n_audio_channels, n_samples, generator=torch.Generator().manual_seed(0))
    latent = codec.encode(wave.to(model.device), torch.Generator().manual_seed(0))
    run = (lambda: codec.decode(latent)) if way == "decode" else lambda: codec.parameters_of(wave.to(model.device))
    return _in_turn({"ours": models.timed(run, model.device)}, n_rounds)


def _video_features() -> Measured:
    """Time the features of a second of video, and those that Video-Foley reads: RGB and RAFT flow by networks."""
    import torch

    from video2rms.features.flow import FlowFeatures
    from video2rms.features.rgb_flow import RgbFlowFeatures

    ours, other = FlowFeatures().eval(), RgbFlowFeatures(random_weights=True).eval()
    width, height = ours.size_px
    frames = torch.randint(0, 256, (1, 30, 3, height, width), dtype=torch.uint8)
    late = torch.zeros(1, 30)
    with torch.no_grad():
        return _in_turn(
            {"ours": lambda: ours(frames, late), "RGB and RAFT (Video-Foley)": lambda: other(frames, late)}, 2
        )


def _mux() -> Measured:
    """Time a minute of new sound beside a copied picture; ffmpeg does the same where it is installed."""
    import torch

    from media.muxing import mux
    from media.writing import write_sound

    rate_hz = 44_100
    sound = 0.1 * torch.randn(2, 60 * rate_hz, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = _film(folder, 60.0)

        ways: dict[str, Callable[[], Any]] = {"ours": lambda: mux(film, sound, rate_hz, folder / "ours.mp4")}
        ffmpeg = shutil.which("ffmpeg")
        if ffmpeg is not None:
            write_sound(folder / "sound.wav", sound, rate_hz)
            files = [ffmpeg, "-y", "-i", film, "-i", folder / "sound.wav", "-map", "0:v", "-map", "1:a", "-c:v", "copy"]
            command = [str(word) for word in [*files, "-b:a", "256k", folder / "theirs.mp4"]]
            ways["ffmpeg"] = lambda: subprocess.run(command, check=True, capture_output=True)
        return _in_turn(ways)


def _long(duration_s: float) -> Measured:
    """Time ``infer.py`` on a long video once."""
    with tempfile.TemporaryDirectory() as name:
        film = str(_film(Path(name), duration_s))
        start_s = time.perf_counter()
        _run("infer.py", "--video", film, "--output-dir", f"{name}/sounds", "--device", "cpu")()
        return Measured([time.perf_counter() - start_s], in_processes=True)


ROWS = {
    "help": Row("`infer.py --help`", lambda: _in_turn({"ours": _run("infer.py", "--help")}, in_processes=True)),
    "imports": Row("imports of a generation", _imports),
    "clip": Row("`infer.py`, 10 s of video, `mini`", lambda: _inference(10.0, 3)),
    "minute": Row("`infer.py`, 60 s of video, `mini`", lambda: _long(60.0), is_quick=False),
    "ten-minutes": Row("`infer.py`, 600 s of video, `mini`", lambda: _long(600.0), is_quick=False),
    "features": Row("features of 1 s of video for Video2RMS", _video_features),
    "mux": Row("60 s of new sound with a copied picture", _mux),
    "sampling": Row(
        "`mini` undistilled, 10 s, 16 steps with guidance, float32", lambda: _sampling("mini_prompts", 16, "float32")
    ),
    "decode": Row("`mini`, 10 s decoded", lambda: _codec("mini_prompts", "decode", N_PAIRS)),
    "training": Row("training step, transformer of `mini`, 8 clips of 10 s, float32", _training_both),
    "full-sampling": Row(
        "full size, 10 s, 2 steps with guidance, bfloat16",
        lambda: _sampling("stable_audio_open", 2, "bfloat16", 3),
        is_quick=False,
    ),
    "full-step": Row(
        "full size, 1 step with guidance and control, bfloat16",
        lambda: _controlled_step("stable_audio_open", "bfloat16"),
        is_quick=False,
    ),
    "full-int8": Row(
        "full size, 1 step with guidance and control, int8",
        lambda: _step_in("stable_audio_open", "int8", "bfloat16"),
        is_quick=False,
    ),
    "full-encode": Row(
        "full size, an envelope of 10 s encoded", lambda: _codec("stable_audio_open", "encode", 3), is_quick=False
    ),
    "full-decode": Row("full size, 10 s decoded", lambda: _codec("stable_audio_open", "decode", 3), is_quick=False),
    "full-training": Row(
        "training step, control branch at full size, 1 clip of 10 s, mixed bfloat16", _training_full, is_quick=False
    ),
}
