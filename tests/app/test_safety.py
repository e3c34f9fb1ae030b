"""Nothing that is sent to the app harms the machine, or reaches what is not the page's own."""

import errno
import http.client
import io
import json
import logging
import os
import resource
import socket
import struct
import zlib
from concurrent import futures

import pytest
from PIL import Image

from hcflow_jax.app import folders, pictures, server, serving, sessions, upscaling
from hcflow_jax.app.jobs import CancelledError
from hcflow_jax.errors import UserError
from tests.app.serving import HOST, Page, ask, eventually, running, told

SECRET = b"the words of a file elsewhere"


def picture(side=8):
    file = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(file, "PNG")
    return file.getvalue()


def png(width, height, *chunks):
    """A PNG of RGB with that header, and chunks (kind, data)."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in (header, *chunks, (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(kind + data))
        parts += [struct.pack(">I", len(data)), kind, data, check]
    return b"".join(parts)


def zeros(count):
    """`count` bytes, deflated."""
    packer, block = zlib.compressobj(), bytes(2**20)
    return b"".join(packer.compress(block) for _ in range(count // 2**20)) + packer.flush()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder to evaluate in, beside what must not be reached."""
    place = tmp_path_factory.mktemp("place")
    (place / "root/photos").mkdir(parents=True)
    (place / "root/photos/a.png").write_bytes(picture())
    (place / "elsewhere").mkdir()
    (place / "elsewhere/secret.png").write_bytes(SECRET)
    os.symlink(place / "elsewhere", place / "root/out")
    return place / "root"


@pytest.fixture(scope="module")
def app(root):
    with running(root=root, max_pixels=10_000, max_upload=1_000_000) as (app, port):
        yield app, port


@pytest.fixture
def page(app):
    with Page(app[1]) as page:
        yield page


@pytest.fixture
def logged(monkeypatch):
    """What the server has said in its terminal."""
    found = []
    logger, text = logging.getLogger("uvicorn.error"), logging.Formatter().format
    monkeypatch.setattr(logger, "handle", lambda record: found.append(text(record)))
    return found


def stored(app):
    """Files of all pages."""
    return [path for path in app.sessions.folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/%2e%2e/errors.py",
        "/static//etc/passwd",
        "/static/..%5cserver.py",
        "{page}/files/..%2f..%2f..%2fetc%2fpasswd",
        "{page}/files//etc/passwd",
        "{page}/files/%00",
        "{page}/files/",
        "/api/..%2f/files/x",
        "/api/not-a-session/files/x",
        "/../../etc/passwd",
    ],
)
def test_paths_lead_nowhere(app, page, path):
    page.send(picture())
    status, _, body = ask(app[1], "GET", path.format(page=page.address))
    assert status in (400, 404) and b"import" not in body and b"root:" not in body


def test_a_page_has_no_files_of_another(app, page):
    mine = page.send(picture())["picture"]
    assert page.file(mine) == picture()
    with Page(app[1]) as other:
        assert ask(app[1], "GET", f"{other.address}/files/{mine}")[0] == 404
        assert "no longer here" in other.start(404, kind="upscale", picture=mine)["error"]


@pytest.mark.parametrize(
    "name", ["..", "../elsewhere", "/etc", "out", "photos/../..", "photos/a.png", "\0", "a" * 5000]
)
def test_folders_outside_the_root_are_not_evaluated(root, name):
    with pytest.raises(UserError, match="no folder below the root"):
        folders.inside(root, name)


def test_folders_below_the_root_are_listed(page, root):
    assert page.opened["folders"] == ["photos"]
    assert folders.inside(root, "photos") == root / "photos"
    assert not folders.is_inside(root, root / "out/secret.png")
    with pytest.raises(UserError, match="--root DIR"):
        folders.inside(None, ".")


def test_folders_that_no_page_can_be_told_of_are_left_out(tmp_path):
    for name in (b"caf\xe9", "café".encode(), b"caf\xe9/below"):
        try:
            os.mkdir(os.path.join(os.fsencode(tmp_path), name))
        except OSError:
            pytest.skip("this file system refuses such names")
        with open(os.path.join(os.fsencode(tmp_path), name, b"a.png"), "wb"):
            pass
    with running(root=tmp_path) as (_, port), Page(port) as page:
        assert page.opened["folders"] == ["café"]


def test_folders_are_looked_for_again_after_a_while(root, monkeypatch):
    looks, now = [], [0.0]
    monkeypatch.setattr(folders, "listed", lambda root: looks.append(root) or ["photos"])
    monkeypatch.setattr(folders.time, "monotonic", lambda: now[0])
    listing = folders.Listing(root)
    for now[0] in (0, 9, 11, 20):
        assert listing.names() == ["photos"]
    assert looks == [root] * 2


def test_a_header_of_ten_billion_pixels_is_refused_before_decoding(app, page):
    data = png(100_000, 100_000, (b"IDAT", zlib.compress(b"")))
    assert "more than 10,000 pixels" in page.send(data, 400)["error"]
    assert not stored(app[0])


@pytest.mark.parametrize("where", ["pixels", "text", "text behind pixels", "profile"])
def test_a_zip_bomb_takes_no_memory(app, page, where):
    bomb, few = zeros(300 * 2**20), (b"IDAT", zlib.compress(bytes(8 * 25)))
    text, profile = (b"zTXt", b"a\0\0" + bomb), (b"iCCP", b"a\0\0" + bomb)
    chunks = {"text": (text, few), "text behind pixels": (few, text), "profile": (profile, few)}
    data = png(8, 8, *chunks.get(where, [(b"IDAT", bomb)]))
    assert len(data) < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, _, body = ask(app[1], "POST", f"{page.address}/pictures", data)
    assert status in (200, 400) and len(json.loads(body)) > 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("data", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a"])
def test_what_is_no_picture_is_one_line_and_not_kept(app, page, data):
    line = page.send(data, 400)["error"]
    assert ";" in line and "\n" not in line and str(app[0].sessions.folder) not in line
    assert not stored(app[0])


@pytest.mark.parametrize("told_length", [True, False])
def test_a_file_that_is_too_large_is_refused_and_not_kept(app, page, told_length):
    connection = http.client.HTTPConnection(HOST, app[1], timeout=30)
    connection.putrequest("POST", f"{page.address}/pictures")
    if told_length:
        connection.putheader("Content-Length", str(10**9))
        connection.endheaders()
    else:
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        block = bytes(100_000)
        for _ in range(11):
            connection.send(b"%x\r\n%s\r\n" % (len(block), block))
    answer = connection.getresponse()
    assert answer.status == 413 and "1 MB" in json.loads(answer.read())["error"]
    connection.close()
    assert not stored(app[0])


@pytest.mark.parametrize(
    "job, words",
    [
        (b"[" * 10_000, "JSON object; reload"),
        (b"[]", "JSON object"),
        (b'{"kind": "eval"}', "none of upscale"),
        (b'{"kind": ["upscale"]}', "none of upscale"),
        (b'{"kind": "upscale", "picture": "PICTURE", "scale": NaN}', "scale"),
        (b'{"kind": "upscale", "picture": "PICTURE", "scale": 1e99}', "scale"),
        (b'{"kind": "upscale", "picture": "PICTURE", "samples": 1e3}', "samples"),
        (b'{"kind": "upscale", "picture": "PICTURE", "samples": 2}', "would be the same"),
        (b'{"kind": "upscale", "picture": "PICTURE", "seed": true}', "seed"),
        (b'{"kind": "upscale", "picture": "PICTURE", "temperature": "1"}', "'1'; give a number"),
        (b'{"kind": "upscale", "picture": "PICTURE", "temperature": null}', "missing; give a"),
        (
            b'{"kind": "upscale", "picture": "PICTURE", "temperature": 5}',
            "5'; give a number from 0",
        ),
        (b'{"kind": "upscale", "picture": "PICTURE", "samples": 1.5}', "without a point"),
        (b'{"kind": "redraw", "state": "PICTURE", "region": [-5, 0, 1, 1]}', "x is '-5'; give"),
        (b'{"kind": "redraw", "state": "PICTURE", "region": [0, 0, 1, null]}', "height is missing"),
        (b'{"kind": "evaluate", "folder": "photos", "temperatures": "abc"}', "'abc' are no list"),
        (b'{"kind": "evaluate", "folder": "photos", "temperatures": []}', "0, 0.5, 0.9"),
        (b'{"kind": "evaluate", "folder": "photos", "task": "s"}', "choose one"),
        (b'{"kind": "redraw", "state": "PICTURE", "region": [0, 0, 1]}', "region"),
        (b'{"kind": "evaluate", "folder": 7}', "'7' is no name of a folder"),
    ],
)
def test_jobs_are_checked(app, page, job, words):
    name = page.send(picture())["picture"].encode()
    answer = told(app[1], "POST", f"{page.address}/jobs", job.replace(b"PICTURE", name), expect=400)
    assert words in answer["error"] and "\n" not in answer["error"]


def test_a_job_of_many_bytes_is_refused(app, page):
    line = told(app[1], "POST", f"{page.address}/jobs", bytes(10**6), expect=413)["error"]
    assert "reload the page" in line and "--max-upload" not in line


def test_a_number_of_many_digits_is_no_job(app, page, logged):
    assert ask(app[1], "DELETE", f"{page.address}/jobs/{'1' * 4400}")[0] == 204
    assert not logged


@pytest.mark.parametrize("what", ["pictures", "samples/eye"])
def test_a_full_disk_is_one_line_and_nothing_is_kept(app, page, monkeypatch, logged, what):
    def full(path, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    class Full(io.FileIO):
        def write(self, data):
            full(self.name)

    monkeypatch.setattr(server, "open", Full, raising=False)
    monkeypatch.setattr(pictures, "open", full, raising=False)
    line = told(app[1], "POST", f"{page.address}/{what}", picture(), expect=507)["error"]
    assert line == sessions.NO_ROOM and "TMPDIR" in line
    assert not stored(app[0]) and not logged


def test_a_bug_in_an_answer_is_told_and_keeps_its_traceback(app, page, monkeypatch, logged):
    def look(path, most):
        raise KeyError("a fault")

    monkeypatch.setattr(pictures, "look", look)
    assert page.send(picture(), 500)["error"].startswith("a bug in hcflow")
    eventually(lambda: "KeyError: 'a fault'" in "".join(logged))
    assert not stored(app[0])


def test_lines_do_not_name_temporary_files(app, page, monkeypatch):
    def work(asked, job, place):
        raise UserError(f"{job.session.new_path('.png')}: too wide; '{asked.picture.path}' is not")

    monkeypatch.setattr(upscaling, "upscale", work)
    done = page.do(kind="upscale", picture=page.send(picture())["picture"])
    assert done["error"] == "the picture: too wide; the picture is not"


def test_it_ends_while_others_stall(logged, monkeypatch):
    monkeypatch.setattr(serving, "_GRACE", 0.0)
    with running() as (app, port):
        page = Page(port)
        session = app.sessions.find(page.opened["session"])
        large = session.new_path(".png")
        large.write_bytes(bytes(20_000_000))  # more than sockets buffer
        asked = [f"POST {page.address}/{what} HTTP/1.1" for what in ("pictures", "jobs")]
        asked.append(f"GET {page.address}/files/{session.keep(large)} HTTP/1.1")
        head = f"Host: {HOST}\r\nContent-Length: 1000\r\n\r\nbegun"
        connections = [socket.create_connection((HOST, port)) for _ in asked]
        for connection, line in zip(connections, asked, strict=True):
            connection.sendall(f"{line}\r\n{head}".encode())
        assert connections[-1].recv(1)
        eventually(lambda: len(stored(app)) == 2)
    for connection in connections:
        connection.close()
    page.close()
    assert not logged


def test_a_sender_who_goes_leaves_nothing(app, page, logged):
    for what in ("jobs", "pictures"):
        connection = http.client.HTTPConnection(HOST, app[1], timeout=30)
        connection.putrequest("POST", f"{page.address}/{what}")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(bytes(500))
    eventually(lambda: stored(app[0]))
    connection.close()
    eventually(lambda: not stored(app[0]))
    page.send(picture())
    assert not logged


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:7860"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "127.0.0.1/evil"}, 403),
        ({"Host": "evil@127.0.0.1"}, 403),
        ({"Host": "127.0.0.1?evil"}, 403),
        ({"Host": "127.0.0.1:port"}, 403),
        ({"Host": "LOCALHOST"}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:7860"}, 200),
        ({"Host": "localhost", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
        ({"Host": "localhost", "Origin": "http://["}, 403),
        ({"Host": "localhost", "Origin": "http://a@localhost"}, 403),
        ({"Host": "localhost:5", "Origin": "http://localhost:6"}, 403),
        ({"Host": "localhost:5", "Origin": "http://localhost:5"}, 200),
    ],
)
def test_other_hosts_and_origins_are_refused(app, headers, status):
    assert ask(app[1], "GET", "/", **headers)[0] == status


def test_beyond_loopback_a_token_is_needed():
    with running(token="correct") as (_, port):
        for path in ("/", "/?token=wrong", "/static/app.js?token=correct", "/?token="):
            assert ask(port, "GET", path)[0] == 401
        assert ask(port, "POST", "/api/sessions", Cookie=f"hcflow_{port}=wrong")[0] == 401
        status, headers, _ = ask(port, "GET", "/?token=correct", Host="a.example")
        cookie = headers["set-cookie"]
        assert (status, headers["location"]) == (303, "/")
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie  # links in other pages open it
        given = {"Host": "a.example", "Cookie": cookie.partition(";")[0]}
        assert ask(port, "GET", "/", **given)[0] == 200
        assert ask(port, "GET", "/?token=correct", **given)[0] == 303  # out of the address
        assert ask(port, "GET", "/?token=wrong", **given)[0] == 200
        assert ask(port, "POST", "/api/sessions", Origin="http://b.example", **given)[0] == 403


def test_the_host_that_it_was_started_with_is_one_of_its_names():
    with running(hosts=("machine", "::ffff:127.0.0.1")) as (_, port):
        for host in ("machine", "Machine:80", "[::ffff:7f00:1]:80", "127.0.0.1"):
            assert ask(port, "GET", "/", Host=host)[0] == 200
        assert ask(port, "GET", "/", Host="machines")[0] == 403


def test_answers_forbid_browsers_what_is_not_needed(app, page):
    for path in ("/", "/static/app.js", "/nothing"):
        headers = ask(app[1], "GET", path)[1]
        assert headers["referrer-policy"] == "same-origin"  # else beacons may have no Origin
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "TIFF")
    name = page.send(file.getvalue())["picture"]
    kind = ask(app[1], "GET", f"{page.address}/files/{name}")[1]["content-type"]
    assert kind == "application/octet-stream"


def test_twenty_requests_together_are_done_one_at_a_time(app, monkeypatch):
    inside, most = [], []

    def work(asked, job, place):
        inside.append(job)
        most.append(len(inside))
        for _ in range(5):
            job.report(1)
            job.report(-1)
        inside.remove(job)
        return {"total": job.total}

    monkeypatch.setattr(upscaling, "upscale", work)

    def visit(_):
        with Page(app[1]) as page:
            name = page.send(picture())["picture"]
            return page.result(kind="upscale", picture=name)

    with futures.ThreadPoolExecutor(20) as pool:
        assert list(pool.map(visit, range(20))) == [{"total": 5}] * 20
    assert most == [1] * 20


@pytest.fixture
def endless(monkeypatch):
    """Upscaling goes on until it is cancelled; the list has "begun" and then "ended"."""
    seen = []

    def work(asked, job, place):
        seen.append("begun")
        try:
            while not job.stopped.wait(0.01):
                job.report(0)
            job.check()
        except CancelledError:
            seen.append("ended")
            raise

    monkeypatch.setattr(upscaling, "upscale", work)
    return seen


def test_a_job_that_waits_knows_its_place_and_can_be_cancelled(app, page, endless):
    name = page.send(picture())["picture"]
    numbers = [page.start(kind="upscale", picture=name) for _ in range(3)]
    page.wait(numbers[0], ["running"])
    last = page.wait(numbers[2], ["waiting"])
    assert (last["ahead"], last["queue"]) == (2, 3)
    for number in (numbers[2], numbers[0], numbers[1]):
        assert ask(app[1], "DELETE", f"{page.address}/jobs/{number}")[0] == 204
        assert page.wait(number)["state"] == "cancelled"
    assert endless in (["begun", "ended"], ["begun", "ended"] * 2)


@pytest.mark.parametrize("says_so", [True, False])
def test_a_closed_tab_ends_its_jobs_and_removes_its_files(app, endless, monkeypatch, says_so):
    monkeypatch.setattr(sessions, "LEFT", 3600 if says_so else 0.1)
    page = Page(app[1])
    name = page.send(picture())["picture"]
    running_job, _ = [page.start(kind="upscale", picture=name) for _ in range(2)]
    page.wait(running_job, ["running"])
    assert len(stored(app[0])) == 1
    if says_so:
        assert ask(app[1], "POST", f"{page.address}/close")[0] == 204
    page.close()
    eventually(lambda: endless == ["begun", "ended"] and not stored(app[0]))
    assert ask(app[1], "GET", f"{page.address}/files/{name}")[0] == 404
    monkeypatch.undo()
    with Page(app[1]) as other:  # the queue goes on
        failed = other.do(kind="upscale", picture=other.send(picture())["picture"])
        assert failed["state"] == "failed"  # NoNetworks has none


def test_a_page_that_is_not_looked_at_is_kept_longer(app, monkeypatch):
    monkeypatch.setattr(sessions, "LEFT", 0.0)
    monkeypatch.setattr(sessions, "AWAY", 3600.0)
    held = sessions.Session(app[0].sessions.folder)
    for away in (True, False, True):
        held.connect()
        if away:
            held.leave()
        held.disconnect()
        assert held.is_left is not away
    monkeypatch.setattr(sessions, "AWAY", 0.0)
    assert held.is_left
    held.close()


def test_a_page_says_that_it_is_not_looked_at(app, page, monkeypatch):
    session = app[0].sessions.find(page.opened["session"])
    assert ask(app[1], "POST", f"{page.address}/away")[0] == 204
    session.disconnect()
    monkeypatch.setattr(sessions, "LEFT", -1.0)
    assert not session.is_left
    session.connect()
    assert ask(app[1], "POST", "/api/nobody/away")[0] == 404


def test_too_many_pages_are_refused(app, monkeypatch):
    monkeypatch.setattr(sessions, "MOST", 0)
    assert "open already" in told(app[1], "POST", "/api/sessions", expect=400)["error"]


def test_of_many_files_the_oldest_go(app, page, monkeypatch):
    monkeypatch.setattr(sessions, "FILES", 2)
    names = [page.send(picture())["picture"] for _ in range(3)]
    found = [ask(app[1], "GET", f"{page.address}/files/{name}")[0] for name in names]
    assert found == [404, 200, 200]
    monkeypatch.setattr(sessions, "BYTES", 1)
    page.send(picture())
    assert len(stored(app[0])) == 1


def test_files_that_are_used_stay(app, page, monkeypatch):
    monkeypatch.setattr(sessions, "FILES", 3)
    session = app[0].sessions.find(page.opened["session"])
    first, *others = [page.send(picture())["picture"] for _ in range(3)]
    assert page.file(first) == picture()
    page.send(picture())
    assert [session.has(session.folder / name) for name in (first, *others)] == [True, False, True]


def test_results_go_before_what_was_sent(app, page, monkeypatch):
    monkeypatch.setattr(sessions, "FILES", 4)
    session = app[0].sessions.find(page.opened["session"])
    sent, results = page.send(picture())["picture"], []
    for _ in range(5):
        results.append(session.new_path(".png"))
        results[-1].write_bytes(picture())
        session.keep(results[-1])
    assert page.file(sent) == picture()
    assert [path.exists() for path in results] == [False, False, True, True, True]
    many = [page.send(picture())["picture"] for _ in range(3)]
    assert page.file(many[-1]) == picture() and results[-1].exists()


def test_a_bug_is_told_and_keeps_its_traceback(page, monkeypatch, capfd):
    def work(asked, job, place):
        raise KeyError("a fault")

    monkeypatch.setattr(upscaling, "upscale", work)
    done = page.do(kind="upscale", picture=page.send(picture())["picture"])
    assert done["state"] == "failed" and done["error"].startswith("a bug in hcflow")
    assert "KeyError: 'a fault'" in capfd.readouterr().err


def test_nothing_is_left_behind():
    with running() as (app, port):
        page = Page(port)
        page.send(picture())
        folder = app.sessions.folder
        assert folder.stat().st_mode & 0o777 == 0o700 and stored(app)
    assert not folder.exists()
    page.close()
