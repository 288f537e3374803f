"""Image sequences and animated WebP as films, and GIF as it is read."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import InputError
from media.images import find_images, write_film
from media.probe import probe
from media.reading import read_frames
from tests.media.clips import numbers, picture

SIZES = [(64, 48), (63, 47)]


def image(number, size=(64, 48)):
    return Image.fromarray(np.ascontiguousarray(picture(number, (64, 48))[: size[1], : size[0]]))


def write_images(folder, names, size=(64, 48)):
    folder.mkdir()
    for number, name in enumerate(names):
        image(number, size).save(folder / name)
    return folder


def film_times(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [frame.pts * frame.time_base for frame in container.decode(stream)]
        return times, (stream.start_time + stream.duration) * stream.time_base


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_a_folder_of_images_in_natural_order(tmp_path, suffix, size):
    folder = write_images(tmp_path / "frames", [f"shot 2 take{n}{suffix}" for n in range(8, 14)], size)
    (folder / "notes.txt").write_text("no image")
    images = find_images(folder)
    assert [path.name for path in images.files] == [f"shot 2 take{n}{suffix}" for n in range(8, 14)]
    assert images.n_frames == 6
    assert write_film(images, tmp_path / "film.mp4", frame_rate_hz=30_000 / 1001) is False
    times, end = film_times(tmp_path / "film.mp4")
    assert times == [k * Fraction(1001, 30_000) for k in range(6)]
    assert end == 6 * Fraction(1001, 30_000)
    assert numbers(read_frames(tmp_path / "film.mp4", frame_rate_hz=30_000 / 1001)) == list(range(6))


@pytest.mark.parametrize(("pattern", "names"), [
    ("f_%04d.png", [f"f_{n:04d}.png" for n in range(98, 103)]),
    ("f_%d.png", [f"f_{n}.png" for n in range(8, 13)]),
    ("%02d.png", [f"{n:02d}.png" for n in range(97, 102)]),  # more digits than stated
])  # fmt: skip
def test_a_pattern(tmp_path, pattern, names):
    folder = write_images(tmp_path / "frames", names)
    image(9).save(folder / "other.png")
    images = find_images(folder / pattern)
    assert [path.name for path in images.files] == names
    write_film(images, tmp_path / "film.mkv", frame_rate_hz=12.0)
    assert numbers(read_frames(tmp_path / "film.mkv", frame_rate_hz=12.0)) == list(range(5))


def animated(path, delays_ms, **how):
    images = [image(number) for number in range(1, len(delays_ms) + 1)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=delays_ms, **how)
    return path


def test_an_animated_webp_keeps_its_times(tmp_path):
    images = find_images(animated(tmp_path / "a.webp", [100, 50, 300, 5, 71], lossless=True))
    assert images.durations_ms == (100, 50, 300, 100, 71)  # browsers slow down what is too short
    write_film(images, tmp_path / "film.mp4")
    times, end = film_times(tmp_path / "film.mp4")
    assert times == [Fraction(ms, 1000) for ms in (0, 100, 150, 450, 550)]
    assert end == Fraction(621, 1000)
    assert numbers(read_frames(tmp_path / "film.mp4", frame_rate_hz=20.0)[[0, 2, 3, 10]]) == [1, 2, 3, 4]


def test_a_gif_is_read_with_its_delays(tmp_path):
    path = animated(tmp_path / "a.gif", [100, 50, 300, 70])
    assert find_images(path) is None
    info = probe(path)
    assert (info.duration_s, info.width, info.height, info.has_video) == (0.52, 64, 48, True)
    assert numbers(read_frames(path, frame_rate_hz=20.0)[[0, 2, 3, 5, 9]]) == [1, 2, 3, 3, 4]


def test_alpha_is_kept_in_prores_and_told(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        content = np.dstack([picture(number), np.full((48, 64), 80 * number, np.uint8)])
        Image.fromarray(content).save(folder / f"{number}.png")
    images = find_images(folder)
    assert write_film(images, tmp_path / "film.mp4", frame_rate_hz=25.0) is True
    assert write_film(images, tmp_path / "film.mov", frame_rate_hz=25.0, codec="prores") is True
    with av.open(str(tmp_path / "film.mov")) as container:
        alphas = [frame.reformat(format="rgba").to_ndarray()[..., 3] for frame in container.decode(video=0)]
    assert [alpha.mean() for alpha in alphas] == pytest.approx([0, 80, 160], abs=1)
    with pytest.raises(InputError, match="mov"):
        write_film(images, tmp_path / "bad.mp4", frame_rate_hz=25.0, codec="prores")


def test_colours_depth_and_orientation_of_images(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    tall = Image.fromarray(np.full((64, 48, 3), (200, 30, 60), np.uint8))
    exif = tall.getexif()
    exif[0x0112] = 6  # shown after a quarter turn to the right
    tall.save(folder / "1.png", exif=exif)
    Image.fromarray(np.full((48, 64), 40_000, np.uint16)).save(folder / "2.png")
    write_film(find_images(folder), tmp_path / "film.mp4", frame_rate_hz=1.0, quality=4)
    read = read_frames(tmp_path / "film.mp4", frame_rate_hz=1.0)
    assert read.shape == (2, 3, 48, 64)
    assert (read[0].permute(1, 2, 0) - torch.tensor([200, 30, 60])).abs().max() <= 3
    assert (read[1].int() - 40_000 // 256).abs().max() <= 2


def missing(folder):
    (folder / "f_10.png").unlink()
    find_images(folder)


def missing_in_pattern(folder):
    (folder / "f_10.png").unlink()
    find_images(folder / "f_%02d.png")


def another_size(folder):
    image(1, (62, 48)).save(folder / "f_10.png")
    write_film(find_images(folder), folder / "film.mp4", frame_rate_hz=25.0)


def damaged(folder):
    (folder / "f_10.png").write_bytes((folder / "f_10.png").read_bytes()[:100])
    write_film(find_images(folder), folder / "film.mp4", frame_rate_hz=25.0)


def mixed(folder):
    image(1).save(folder / "f_13.jpg")
    find_images(folder)


@pytest.mark.parametrize(("act", "told"), [
    (missing, r"f_10\.png"), (missing_in_pattern, r"f_10\.png"), (another_size, r"f_10\.png.*62x48.*64x48"),
    (damaged, r"f_10\.png"), (mixed, r"\.jpg and \.png"),
    (lambda folder: find_images(folder / "g_%d.png"), "g_%d"),
    (lambda folder: find_images(folder / "none" / "f_%d.png"), "f_%d"),
    (lambda folder: find_images(folder / "%d_%d.png"), "%d_%d"),
    (lambda folder: write_film(find_images(folder), folder / "film.mp4"), "frame rate"),
    (lambda folder: write_film(find_images(folder), folder / "film.mp4", frame_rate_hz=0.0), "0.0"),
    (lambda folder: write_film(find_images(folder), folder / "film.mp4", frame_rate_hz=25.0, quality=99), "99"),
    (lambda folder: write_film(find_images(folder), folder / "film.avi", frame_rate_hz=25.0), ".avi"),
])  # fmt: skip
def test_bad_sequences_are_one_sentence_and_leave_nothing(tmp_path, act, told):
    folder = write_images(tmp_path / "frames", [f"f_{n:02d}.png" for n in range(8, 13)])
    with pytest.raises(InputError, match=told) as caught:
        act(folder)
    assert "\n" not in str(caught.value)
    assert not [path for path in folder.iterdir() if path.suffix in (".mp4", ".avi")]


def test_other_paths_are_no_images(tmp_path):
    (tmp_path / "empty").mkdir()
    image(1).save(tmp_path / "still.webp")
    (tmp_path / "100%d.png").write_bytes(b"")
    for name in ("empty", "still.webp", "100%d.png", "film.mp4"):
        assert find_images(tmp_path / name) is None


def test_times_in_names_are_no_gaps(tmp_path):
    folder = write_images(tmp_path / "frames", [f"{ms}.png" for ms in (0, 40, 80, 121, 160)])
    assert find_images(folder).n_frames == 5


def test_progress_and_one_frame(tmp_path):
    folder = write_images(tmp_path / "frames", ["only.png"])
    shares = []
    write_film(find_images(folder), tmp_path / "film.mp4", frame_rate_hz=2.0, on_progress=shares.append)
    assert shares
    assert film_times(tmp_path / "film.mp4") == ([0], Fraction(1, 2))
