"""Command lines speak one language: the same option has the same form and the same checks everywhere."""

import importlib
import re
from contextlib import redirect_stdout
from io import StringIO

import pytest

from common.errors import LARGEST_SEED, InputError
from common.options import (
    add_frame_size,
    add_number,
    add_output,
    add_output_dir,
    add_seed,
    add_shard,
    add_workers,
    command_parser,
)

COMMANDS = [
    "infer",
    "evaluate",
    "demo",
    "data.preprocess",
    "data.report.__main__",
    "synthetic.__main__",
    "synthetic.report",
    "training.bundle",
    "training.cache",
    "stable_foley.checkpoint",
    "stable_foley.generate_split",
    "video2rms.predict",
    "tests.parity",
    *(
        f"benchmarks.{name}"
        for name in (
            "cavp",
            "control",
            "control_envelope",
            "evaluation",
            "feature_cache",
            "full_size",
            "mel_latent",
            "overfit_real_clip",
            "preprocess",
            "real_clips",
            "synthetic",
            "video2rms",
        )
    ),
]


@pytest.fixture
def parser():
    return command_parser("python -m sounds", "Make sounds: ``python -m sounds``.\n\nMore about them.\n")


@pytest.fixture(scope="module")
def helps():
    """The help of every command, by its name."""
    texts = {}
    for name in COMMANDS:
        main = importlib.import_module(name).main
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as written:
            patch.setenv("COLUMNS", "200")
            with pytest.raises(SystemExit) as stopped:
                main(["--help"])
        assert stopped.value.code == 0
        texts[name] = written.getvalue()
    return texts


def test_an_option_has_one_form_everywhere(helps):
    forms = {}
    for name, text in helps.items():
        for option, form in re.findall(r"^  (--[\w-]+)(.*?)(?:  |$)", text, re.MULTILINE):
            forms.setdefault(option, {}).setdefault(form.split(" [")[0].strip(), set()).add(name)
    assert {"--output-dir", "--seed", "--workers", "--checkpoint", "--root"} <= forms.keys()
    assert {option: form for option, form in forms.items() if len(form) > 1} == {}
    assert not forms.keys() & {"--out", "--out-dir", "--num-workers", "--num-shards"}


def test_every_option_says_what_it_does(helps):
    for name, text in helps.items():
        alone = re.findall(r"^  (--[\w-]+)(?: \S+)*\n(?!   )", text, re.MULTILINE)
        assert not alone, name


def test_help_states_defaults_and_nothing_else(parser):
    add_seed(parser, "the noise")
    add_output_dir(parser)
    add_shard(parser)
    text = " ".join(parser.format_help().split())
    assert "Make sounds options:" in text
    assert "seed of the noise (default: 0)" in text
    assert "(default: 0/1)" in text
    assert "None" not in text


@pytest.mark.parametrize("name", ["evaluate", "data.preprocess", "training.cache", "benchmarks.cavp"])
def test_options_of_earlier_days_and_abbreviations_are_unknown(name, capsys):
    for old in ("--out-dir", "--num-workers", "--outp"):
        with pytest.raises(SystemExit) as stopped:
            importlib.import_module(name).main(["--root", "x", "--reference", "x", "--generated", "x", old, "1"])
        assert stopped.value.code == 2
    assert "usage: python" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["-1", str(LARGEST_SEED + 1)])
def test_a_seed_out_of_range_is_refused(parser, value):
    add_seed(parser, "the noise")
    with pytest.raises(InputError, match=f"--seed {value}"):
        parser.parse_args(["--seed", value])


def test_numbers_lie_in_their_range(parser):
    add_number(parser, "--clips", 1, 10, default=3, help="clips")
    add_number(parser, "--hours", 0.5, 10, default=1.0, help="hours")
    add_workers(parser)
    assert parser.parse_args(["--clips", "10", "--hours", "0.5", "--workers", "0"]).hours == 0.5
    for option, value in (("--clips", "0"), ("--hours", "nan"), ("--hours", "0.4"), ("--workers", "-1")):
        with pytest.raises(InputError, match=f"{option} {value}"):
            parser.parse_args([option, value])
    with pytest.raises(SystemExit):
        parser.parse_args(["--clips", "1.5"])


@pytest.mark.parametrize("count", [1, 3, 10])
def test_shards_divide_the_work(parser, count):
    add_shard(parser)
    parts = [parser.parse_args(["--shard", f"{index}/{count}"]).shard.of(range(8)) for index in range(count)]
    assert sorted(job for part in parts for job in part) == list(range(8))
    assert list(parser.parse_args([]).shard.of("abc")) == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "a/b", "0/0", "3/2"])
def test_impossible_shards_are_refused(parser, capsys, text):
    add_shard(parser)
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args([f"--shard={text}"])
    assert stopped.value.code == 2
    assert "I/N" in capsys.readouterr().err


def test_sizes_are_width_and_height(parser, capsys):
    add_frame_size(parser, default=(320, 240))
    add_output(parser, "a picture")
    assert parser.parse_args(["--output", "a.png"]).frame_size == (320, 240)
    assert parser.parse_args(["--output", "a.png", "--frame-size", "64x48"]).frame_size == (64, 48)
    for text in ("64", "64x", "-1x2", "4.5x3"):
        with pytest.raises(SystemExit):
            parser.parse_args(["--output", "a.png", f"--frame-size={text}"])
        assert "WIDTHxHEIGHT" in capsys.readouterr().err
