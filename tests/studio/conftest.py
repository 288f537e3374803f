"""A running studio, and a video for it."""

import time
from contextlib import contextmanager

import pytest
import torch
from starlette.testclient import TestClient

from hits.edit import HitEnvelope
from hits.level import Hits
from media.writing import write_video
from studio.app import create_app
from studio.library import Library
from studio.server import StudioSettings
from studio.worker import ModelChoice

RATE_HZ = 44_100
TIMES_S = (0.4, 1.2, 2.0, 2.8)
DURATION_S = 3.6


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A video of 3.6 s with nothing to see."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = torch.randint(0, 255, (54, 3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_video(path, frames, 15.0)
    return path


def hit_envelope(*times_s, level=0.1):
    """An envelope with hits."""
    n = len(times_s)
    hits = Hits(torch.tensor(times_s), torch.full((n,), level), torch.full((n,), 0.05), torch.ones(n))
    return HitEnvelope.of_hits(hits, DURATION_S).envelope


@contextmanager
def running(folder, **settings):
    """A studio with its worker process."""
    with TestClient(
        create_app(StudioSettings(Library(folder, 2**30), ModelChoice(device="cpu"), **settings))
    ) as client:
        until(lambda: client.get("/api/about").json()["ready"])
        yield client


def until(condition, timeout_s=120):
    """Wait until something is true, and return it."""
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with running(tmp_path_factory.mktemp("studio")) as started:
        yield started


def new_session(client, film):
    """Open a video, and return the id of the session when its envelope is predicted."""
    answer = client.post("/api/sessions", files={"video": (film.name, film.read_bytes())})
    assert answer.status_code == 201, answer.text
    session_id = answer.json()["session"]["id"]
    until(lambda: client.get(f"/api/sessions/{session_id}").json()["tracks"])
    return session_id


def change(client, session_id, **body):
    """Make a change, wait for its end, and return the job and the session."""
    answer = client.post(f"/api/sessions/{session_id}/jobs", json=body)
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]
    job = answer.json()
    if job["status"] in ("queued", "running"):
        job = until(lambda: ended(client, session_id, job_id))
    return job, client.get(f"/api/sessions/{session_id}").json()


def ended(client, session_id, job_id):
    """The job, if it has ended."""
    jobs = client.get(f"/api/sessions/{session_id}/jobs").json()["jobs"]
    return next((job for job in jobs if job["id"] == job_id and job["status"] not in ("queued", "running")), None)
