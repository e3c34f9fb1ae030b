"""An app in this process, and what asks it as pages do."""

import contextlib
import http.client
import json
import threading
import time

from hcflow_jax.app import serving
from hcflow_jax.app.server import App, Settings

HOST = "127.0.0.1"
PATIENCE = 120  # seconds; no test is about speed


class NoNetworks:
    """Stands for networks where none is needed."""

    def load(self):
        return {"sr": {"scale": 4, "levels": 2, "most": 8}}

    def warm(self):
        """There is nothing to draw with."""


@contextlib.contextmanager
def running(networks=None, **settings):
    """(app, port) that answers while the context lasts."""
    found = serving.bound(HOST, None)
    port = found.getsockname()[1]
    app = App(networks or NoNetworks(), Settings(port=port, **settings))
    server = serving.Server(app)
    thread = threading.Thread(target=server.run_at, args=(found,))
    thread.start()
    try:
        yield app, port
    finally:
        app.stop()
        server.should_exit = True
        thread.join()
        found.close()


def ask(port, method, path, body=None, **headers):
    """(status, headers, body) of one request."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    with contextlib.closing(connection):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def told(port, method, path, body=None, expect=200):
    """The JSON of an answer."""
    status, _, data = ask(port, method, path, body)
    assert status == expect, data
    return json.loads(data)


class Page:
    """An open page: its session and the stream of events it listens to."""

    def __init__(self, port):
        self.port, self.opened = port, told(port, "POST", "/api/sessions")
        self.address = f"/api/{self.opened['session']}"
        self._connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
        self._connection.request("GET", f"{self.address}/events")
        self._stream = self._connection.getresponse()
        self.ready = None
        self.jobs = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert ask(self.port, "POST", f"{self.address}/close")[0] == 204
        self.close()

    def close(self):
        """As a browser does when the tab is closed, without telling."""
        self._stream.close()
        self._connection.close()

    def send(self, data, expect=200):
        return told(self.port, "POST", f"{self.address}/pictures", data, expect)

    def start(self, expect=200, **job):
        """The number of a job; where it is refused the answer."""
        found = told(self.port, "POST", f"{self.address}/jobs", json.dumps(job), expect)
        return found.get("job", found)

    def wait(self, number, states=("done", "failed", "cancelled")):
        """What is told of a job once it is in one of `states`."""
        while self.jobs.get(number, {}).get("state") not in states:
            line = self._stream.readline().decode()
            assert line, "the stream ended"
            if line.startswith("data: "):
                event = json.loads(line[6:])
                self.ready = event.get("ready", self.ready)
                if "number" in event:
                    self.jobs[event["number"]] = event
        return self.jobs[number]

    def do(self, **job):
        return self.wait(self.start(**job))

    def result(self, **job):
        done = self.do(**job)
        assert done["state"] == "done", done
        return done["result"]

    def file(self, name, query=""):
        status, _, data = ask(self.port, "GET", f"{self.address}/files/{name}{query}")
        assert status == 200
        return data


def eventually(condition):
    """Waits until that is true."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
