"""Who is refused, and how much."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from studio.guard import COOKIE, Guard

MOST_BYTES = 1000
TOKEN = "x" * 8


def client_of(hosts=("testserver",), token=None):
    async def answer(request: Request) -> JSONResponse:
        return JSONResponse({"bytes": len(await request.body())})

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "DELETE"])])
    app.add_middleware(Guard, hosts=hosts, token=token, most_bytes=MOST_BYTES)
    return TestClient(app, follow_redirects=False)


def test_the_page_itself_may_do_everything():
    client = client_of()
    own = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/api/sessions", headers=own).status_code == 200
    assert client.post("/api/sessions", content=b"x" * 10, headers=own).json() == {"bytes": 10}
    assert client.post("/api/sessions").status_code == 200  # a program, not a browser


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver:81"},
        {"Origin": "https://testserver"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://testserver"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_another_page_may_change_nothing(method, headers):
    answer = client_of().request(method, "/api/sessions", headers=headers)
    assert answer.status_code == 403


def test_another_page_may_not_embed_pictures_or_sounds():
    assert client_of().get("/api/sessions/1/video", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client_of().get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link to the studio


@pytest.mark.parametrize("host", ["evil.example", "testserver:81", "testserver.evil.example", ""])
def test_another_name_of_this_machine_is_refused(host):
    answer = client_of().get("/", headers={"Host": host})
    assert answer.status_code == 421


def test_a_token_is_asked_for_and_kept_in_a_cookie_that_scripts_cannot_read():
    client = client_of(hosts=None, token=TOKEN)
    assert client.get("/").status_code == 401
    assert client.get("/?token=wrong").status_code == 401
    assert client.get(f"/api/sessions?token={TOKEN}").status_code == 401
    assert client.get("/", headers={"Cookie": f"{COOKIE}=wrong"}).status_code == 401
    opened = client.get(f"/?token={TOKEN}")
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/api/sessions").status_code == 200
    assert client.post("/api/sessions", headers={"Origin": "http://evil.example"}).status_code == 403


def test_cookies_of_other_programs_and_odd_tokens_do_no_harm():
    client = client_of(hosts=None, token=TOKEN)
    assert client.get("/", headers={"Cookie": f'other={{"a":1}}; a[b]=1; {COOKIE}={TOKEN}'}).status_code == 200
    assert client.get("/?token=\u00e9").status_code == 401
    assert client.get("/", headers={b"Cookie": f"{COOKIE}=".encode() + b"\xe9"}).status_code == 401


def test_json_may_not_be_as_large_as_a_file(monkeypatch):
    monkeypatch.setattr("studio.guard.MOST_JSON_BYTES", 100)
    client = client_of()
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.post("/api/sessions/1/jobs", content=b"x" * 101).status_code == 413
    assert client.post("/api/sessions/1/jobs", content=b"x" * 101, headers=multipart).status_code == 413
    assert client.post("/api/sessions", content=b"x" * 101, headers=multipart).status_code == 200


def test_a_large_body_is_refused_whether_or_not_it_says_its_size():
    client = client_of()
    assert client.post("/api/sessions", content=b"x" * MOST_BYTES).status_code == 200
    assert client.post("/api/sessions", content=b"x" * (MOST_BYTES + 1)).status_code == 413
    parts = (b"x" * 100 for _ in range(20))  # chunked: without a length
    answer = client.post("/api/sessions", content=parts)
    assert answer.status_code == 413
    assert "too large" in answer.json()["error"]


def test_every_answer_forbids_what_the_page_does_not_need():
    headers = client_of().get("/").headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
