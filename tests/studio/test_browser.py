"""The studio's page in a real browser, used by hand as far as Playwright has one."""

import io
import shutil
import socket
import threading

import numpy as np
import pytest
import soundfile
import torch
import uvicorn

from evaluation.onsets import detect_onsets
from media.writing import write_sound
from studio.app import create_app
from studio.library import Library
from studio.server import StudioSettings
from studio.worker import ModelChoice
from tests.studio.conftest import RATE_HZ, until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install it (apt-get install chromium)"),
]
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic"),
]
SECONDS = 1000  # milliseconds, as Playwright counts


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a studio that listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    settings = StudioSettings(
        Library(tmp_path_factory.mktemp("studio"), 2**30), ModelChoice(device="cpu"), hosts=[f"127.0.0.1:{port}"]
    )
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def page(browser, address):
    """The first screen; a test fails if its page logs an error."""
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    problems = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "console",
        lambda message: (
            problems.append(message.text)
            if message.type == "error" and "Failed to load resource" not in message.text
            else None
        ),
    )
    opened.goto(address)
    opened.get_by_test_id("drop").wait_for()
    yield opened
    opened.close()
    assert problems == []


def session_of(page):
    """What the server says of the session that the page shows."""
    session_id = page.evaluate("location.hash").lstrip("#/")
    return page.request.get(f"{page.url.split('#')[0]}api/sessions/{session_id}").json()


def opened_with(page, film):
    """Give the page a video, and wait for its hits."""
    page.get_by_test_id("file").set_input_files(film)
    until(lambda: page.evaluate("location.hash").lstrip("#/"))
    until(lambda: session_of(page)["tracks"])
    page.get_by_test_id("lane-main").wait_for()
    return page


def go_to(page, time_s):
    """Click on the thumbnails, so that the cursor is at a time."""
    box = page.locator("#thumbs").bounding_box()
    page.mouse.click(box["x"] + page.evaluate("time_s => window.studio.axis.xOf(time_s)", time_s), box["y"] + 10)


def with_hits(page, *times_s):
    """Give the first track hits by keys, at times of the video."""
    for number, time_s in enumerate(times_s, 1):
        go_to(page, time_s)
        page.keyboard.press("a")
        until(lambda: len(session_of(page)["tracks"][0]["hits"]) == number)  # noqa: B023


def with_take(page):
    """Generate a take, and wait until the page has it."""
    n_before = len(session_of(page)["tracks"][0]["takes"])
    page.get_by_test_id("generate").click()
    until(lambda: len(session_of(page)["tracks"][0]["takes"]) > n_before)
    page.get_by_test_id("takes").get_by_test_id("take-keep").nth(n_before).wait_for()


def sound_of(page):
    """The kept sound of the first track (2, N)."""
    session = session_of(page)
    track = session["tracks"][0]
    url = f"{page.url.split('#')[0]}api/sessions/{session['id']}/tracks/{track['name']}/takes/{track['kept']}/sound"
    return torch.from_numpy(soundfile.read(io.BytesIO(page.request.get(url).body()), dtype="float32")[0].T)


def place_of(page, hit):
    """Where a hit of the first track is on the screen."""
    box = page.get_by_test_id("lane-main").bounding_box()
    x = page.evaluate("time_s => window.studio.axis.xOf(time_s)", hit["time_s"])
    y = page.evaluate("level => window.studio.yOfLevel('main', level)", hit["level"])
    return box["x"] + x, box["y"] + y


def x_of(page, time_s):
    box = page.get_by_test_id("lane-main").bounding_box()
    return box["x"] + page.evaluate("time_s => window.studio.axis.xOf(time_s)", time_s)


def test_a_hit_is_dragged_and_heard_where_it_went_and_undo_brings_it_back(page, film):
    opened_with(page, film)
    with_hits(page, 0.5, 1.5, 2.5)
    with_take(page)
    before = sound_of(page)
    hit = min(session_of(page)["tracks"][0]["hits"], key=lambda each: abs(each["time_s"] - 1.5))
    x, y = place_of(page, hit)
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(1, 6):
        page.mouse.move(x + (x_of(page, 1.8) - x) * step / 5, y)
    page.mouse.up()
    until(lambda: len(session_of(page)["tracks"][0]["takes"]) == 2)
    after = sound_of(page)
    onsets_s = detect_onsets(after, RATE_HZ).times_s
    assert np.abs(onsets_s - 1.8).min() < 0.06
    assert np.abs(onsets_s - 1.5).min() > 0.1
    assert torch.equal(after[:, : round(1.2 * RATE_HZ)], before[:, : round(1.2 * RATE_HZ)])
    page.keyboard.press("Control+z")
    until(lambda: session_of(page)["tracks"][0]["kept"] == 1)
    assert torch.equal(sound_of(page), before)
    page.keyboard.press("Control+Shift+z")
    until(lambda: session_of(page)["tracks"][0]["kept"] == 2)


def test_a_region_is_redone_takes_are_compared_and_the_export_is_read_back(page, film):
    opened_with(page, film)
    with_hits(page, 0.5, 2.0)
    with_take(page)
    before = sound_of(page)
    go_to(page, 1.6)
    page.keyboard.press("[")
    go_to(page, 2.4)
    page.keyboard.press("]")
    page.keyboard.press("r")
    until(lambda: len(session_of(page)["tracks"][0]["takes"]) == 2)
    after = sound_of(page)
    changed_s = np.flatnonzero((after != before).any(dim=0).numpy()) / RATE_HZ
    assert 1.6 - 0.01 <= changed_s.min() < changed_s.max() <= 2.4 + 0.01
    page.get_by_test_id("take-keep").nth(1).wait_for()
    page.keyboard.press("b")
    assert page.get_by_test_id("ab").get_attribute("aria-pressed") == "true"
    assert session_of(page)["tracks"][0]["kept"] == 2  # listening changes nothing
    page.get_by_test_id("export").click()
    until(lambda: session_of(page)["exports"])
    page.get_by_test_id("exports").wait_for()
    with page.expect_download() as download:
        page.get_by_test_id("exports").get_by_text("film.wav", exact=True).click()
    mix = soundfile.read(download.value.path())[0]
    assert len(mix) == round(3.6 * RATE_HZ)


FOLLOWED = """async ({fps, off_s, late_s, seconds}) => {
    const {Follower} = await import("/page/js/sync.js");
    const follower = new Follower(), offsets_ms = [];
    let rate = 1, seeks = 0;
    follower.begin("start", 0);
    for (let n = 1; n < fps * seconds; n++) {
        off_s += (rate - 1) / fps;
        const jitter_s = 0.01 * Math.sin(37 * n) - (n % 11 ? 0 : late_s);
        const answer = follower.follow(off_s + jitter_s, 1000 * n / fps);
        if (answer === null) { seeks += 1; rate = 1; off_s = follower.leads_s.seek - 0.1; }
        else rate = answer;
        offsets_ms.push(1000 * off_s);
    }
    return {offsets_ms, seeks, lead_s: follower.leads_s.seek};
}"""


@pytest.mark.parametrize("fps", [8, 15, 25, 60])
@pytest.mark.parametrize("off_s", [-0.1, 0.06, 0.1])
def test_the_picture_comes_within_20_ms_of_the_sound(page, fps, off_s):
    run = page.evaluate(FOLLOWED, {"fps": fps, "off_s": off_s, "late_s": 0.05, "seconds": 5})
    assert max(abs(ms) for ms in run["offsets_ms"][fps:]) < 20  # from the first second on
    assert run["seeks"] == 0


def test_a_picture_far_off_seeks_once_and_learns_how_long_that_takes(page):
    run = page.evaluate(FOLLOWED, {"fps": 30, "off_s": 2.0, "late_s": 0, "seconds": 5})
    assert run["seeks"] == 1  # not before the start has settled, and not again
    assert run["lead_s"] == pytest.approx(0.1, abs=0.02)  # this video takes 0.1 s


def test_sound_and_picture_play_in_time(page, film):
    opened_with(page, film)
    with_hits(page, 0.5, 2.0)
    with_take(page)
    page.keyboard.press("Home")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("l")
    page.keyboard.press("Space")

    def is_in_time():
        offset_ms = page.evaluate("window.studio.transport.offset_ms")
        return offset_ms is not None and abs(offset_ms) < 20

    until(is_in_time)
    page.keyboard.press("Space")
    assert 0 < page.evaluate("window.studio.transport.position_s") < 3.6


def test_a_job_is_cancelled_and_a_reload_in_the_middle_goes_on(page, film):
    opened_with(page, film)
    with_hits(page, 0.5)
    page.get_by_test_id("steps").fill("100")
    page.get_by_test_id("steps").press("Tab")
    until(lambda: session_of(page)["settings"]["n_steps"] == 100)
    page.get_by_test_id("generate").click()
    page.get_by_test_id("job-cancel").first.wait_for()
    page.reload()
    page.get_by_test_id("job-cancel").first.wait_for()
    page.get_by_test_id("job-cancel").first.click()
    page.get_by_test_id("job-cancel").first.wait_for(state="hidden", timeout=20 * SECONDS)
    assert session_of(page)["tracks"][0]["takes"] == []


def test_a_damaged_video_is_refused_with_a_sentence(page, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    page.get_by_test_id("file").set_input_files(tmp_path / "broken.mp4")
    page.get_by_test_id("message").get_by_text("broken.mp4").wait_for()
    assert page.evaluate("location.hash").lstrip("#/") == ""


def test_the_mix_is_changed_at_once_and_saved(page, film):
    opened_with(page, film)
    page.get_by_test_id("mute-main").click()
    until(lambda: session_of(page)["tracks"][0]["muted"])
    gain = page.get_by_test_id("gain-main")
    gain.focus()
    gain.press("ArrowLeft")
    until(lambda: session_of(page)["tracks"][0]["gain_db"] < 0)
    page.get_by_test_id("prompt").fill("hitting metal")
    page.get_by_test_id("prompt").press("Tab")
    until(lambda: session_of(page)["tracks"][0]["prompt"] == "hitting metal")


def test_sounds_become_prompts_and_hits_a_track_of_their_own(page, film, tmp_path):
    opened_with(page, film)
    with_hits(page, 0.5, 1.5)
    write_sound(tmp_path / "like.wav", torch.randn(2, 22_050, generator=torch.Generator().manual_seed(0)) / 20, RATE_HZ)
    page.get_by_test_id("sound-file").set_input_files(tmp_path / "like.wav")
    until(lambda: session_of(page)["tracks"][0]["audio_prompts"] == ["like.wav"])
    for key in ("Escape", "Home", "n"):  # selects the first hit
        page.keyboard.press(key)
    page.keyboard.press("t")
    page.locator("#split-name").fill("metal")
    page.locator("#split-name").press("Enter")
    until(lambda: [track["name"] for track in session_of(page)["tracks"]] == ["main", "metal"])
    hits = [[round(hit["time_s"], 1) for hit in track["hits"]] for track in session_of(page)["tracks"]]
    assert hits == [[1.5], [0.5]]
    page.get_by_test_id("lane-metal").wait_for()


def test_typed_values_of_a_hit_act(page, film):
    opened_with(page, film)
    with_hits(page, 0.5)
    time_s = page.get_by_test_id("hits-table").locator("input").first
    time_s.fill("0.7")
    time_s.press("Enter")
    until(lambda: round(session_of(page)["tracks"][0]["hits"][0]["time_s"], 2) == 0.7)


@pytest.mark.parametrize("width", [1024, 1440, 1920])
def test_nothing_is_cut_off(browser, address, film, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(address)
    opened_with(page, film)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("generate", "play", "export", "undo", "add-track"):
        box = page.get_by_test_id(name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    page.close()


def test_the_keys_are_listed(page, film):
    opened_with(page, film)
    page.keyboard.press("?")
    page.get_by_test_id("help").wait_for()
    assert "Space" in page.get_by_test_id("help").inner_text()
    page.keyboard.press("Escape")
    page.get_by_test_id("help").wait_for(state="hidden")
