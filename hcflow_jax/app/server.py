"""The app's addresses: the page, its pictures, its jobs and what it is told of them."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from hcflow_jax.app import asked, folders, pictures
from hcflow_jax.app.guard import Guard
from hcflow_jax.app.jobs import A_BUG, Queue
from hcflow_jax.app.networks import Networks
from hcflow_jax.app.sessions import GoneError, Session, Sessions, line
from hcflow_jax.errors import UserError

STATIC = Path(__file__).with_name("static")

MOST_BYTES_OF_JOBS = 20_000
"""Of the description of a job."""

_LOOK, _ALIVE = 0.1, 5.0
"""Seconds between looks for news, and after which something is sent in any case: only sending
tells that a page is gone."""

_REPORT = {
    "content-security-policy": "sandbox allow-scripts; default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the app was started with.

    Attributes:
      root: the folder under which pictures may be evaluated, or None.
      max_pixels: of a picture, and of all results of a job together.
      max_upload: bytes of a file.
      token: that requests need; None where only this machine can send them.
      port: at which the app is.
      hosts: names and addresses of the app, beside those that all machines have for themselves.
      after: called when a job is done, to give memory back.
    """

    root: Path | None = None
    max_pixels: int = 100_000_000
    max_upload: int = 50_000_000
    token: str | None = None
    port: int = 7860
    hosts: tuple[str, ...] = ()
    after: Callable[[], object] = lambda: None


class App:
    """The app as an ASGI application, `asgi`; `stop` ends its streams and jobs."""

    def __init__(self, networks: Networks, settings: Settings):
        self._settings, self._networks = settings, networks
        self._place = asked.Place(networks, settings.root, settings.max_pixels)
        self.sessions, self.queue = Sessions(), Queue(settings.after)
        self._listing = folders.Listing(settings.root)
        self._ready: dict | None = None
        self._warming = False
        self._stopping = False
        self._decoding = asyncio.Lock()
        session = "/api/{session}"
        self.asgi = Starlette(
            routes=[
                Route("/", self._page),
                Mount("/static", StaticFiles(directory=STATIC)),
                Route("/api/sessions", self._open, methods=["POST"]),
                Route(f"{session}/close", self._close, methods=["POST"]),
                Route(f"{session}/away", self._away, methods=["POST"]),
                Route(f"{session}/events", self._events),
                Route(f"{session}/pictures", self._upload, methods=["POST"]),
                Route(f"{session}/samples/{{name}}", self._sample, methods=["POST"]),
                Route(f"{session}/jobs", self._ask, methods=["POST"]),
                Route(f"{session}/jobs/{{number}}", self._cancel, methods=["DELETE"]),
                Route(f"{session}/files/{{file}}", self._file),
            ],
            middleware=[
                Middleware(Guard, token=settings.token, port=settings.port, hosts=settings.hosts)
            ],
            exception_handlers={
                **dict.fromkeys((UserError, OSError, MemoryError), self._refused),
                ClientDisconnect: _left,
                Exception: _bug,
            },
            lifespan=self._life,
        )

    def stop(self) -> None:
        """Ends the streams of events, without which a server would wait for them."""
        self._stopping = True

    @contextlib.asynccontextmanager
    async def _life(self, _):
        self.queue.start()
        sweeping = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            self._stopping = True
            await run_in_threadpool(self.queue.stop)
            self.sessions.close_all()

    async def _sweep(self):
        while True:
            await asyncio.sleep(1)
            self.sessions.close_left()

    async def _page(self, _):
        return FileResponse(STATIC / "index.html")

    async def _open(self, _):
        session = self.sessions.open()
        if not self._warming:
            self._warming = True
            self.queue.add(session, self._warm)
        most = {"max_upload": self._settings.max_upload, "max_pixels": self._settings.max_pixels}
        listed = await run_in_threadpool(self._listing.names)
        found = {"session": session.name, "folders": listed, "samples": [*pictures.SAMPLES]}
        return JSONResponse(found | most | {"root": self._settings.root is not None})

    def _warm(self, job):
        try:
            self._ready = self._networks.load()
            if not self.queue.has_waiting:  # else a job compiles what it needs itself
                self._networks.warm()
        except BaseException:
            self._warming = False
            raise
        return {}

    def _session(self, request: Request) -> Session:
        return self.sessions.find(request.path_params["session"])

    async def _close(self, request):
        with contextlib.suppress(GoneError):
            self.sessions.close(self._session(request))
        return Response(status_code=204)

    async def _away(self, request):
        self._session(request).leave()
        return Response(status_code=204)

    async def _events(self, request):
        session = self._session(request)
        return StreamingResponse(self._news(session), media_type="text/event-stream")

    async def _news(self, session):
        """Events: of each job what is new, {"number", "state", …}, and {"ready": …} once."""
        session.connect()
        sent, silent = {}, 0.0
        try:
            yield ": connected\n\n"
            while not (session.closed.is_set() or self._stopping):
                found = {job["number"]: job for job in self.queue.told(session)}
                news = [job for number, job in found.items() if sent.get(number) != job]
                if self._ready is not None and "ready" not in sent:
                    news.append({"ready": self._ready})
                    found["ready"] = True
                elif "ready" in sent:
                    found["ready"] = True
                sent = found
                silent = 0.0 if news else silent + _LOOK
                if silent > _ALIVE:
                    silent = 0.0
                    yield ": alive\n\n"
                for one in news:
                    yield f"data: {json.dumps(one)}\n\n"
                await asyncio.sleep(_LOOK)
        finally:
            session.disconnect()

    async def _upload(self, request):
        session, most = self._session(request), self._settings.max_upload
        if int(request.headers.get("content-length") or 0) > most:
            return _too_large(_LARGE_FILE.format(most / 1e6))
        with self._new(session) as path:
            size = 0
            with open(path, "xb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > most:
                        return _too_large(_LARGE_FILE.format(most / 1e6))
                    file.write(chunk)
            return await self._known(session, path)

    @contextlib.contextmanager
    def _new(self, session):
        """Where a file may be written, which is removed in the end unless it is kept."""
        path = session.new_path("")
        try:
            yield path
        except FileNotFoundError as error:
            raise GoneError("this page was closed meanwhile; reload it") from error
        finally:
            if not session.has(path):
                path.unlink(missing_ok=True)

    async def _known(self, session, path):
        """The answer about a picture that is in the folder of a session, and is kept."""
        async with self._decoding:  # of some files the header tells too little
            found = await run_in_threadpool(pictures.look, path, self._settings.max_pixels)
        return JSONResponse({"picture": session.keep(path, found["kind"]), **found})

    async def _sample(self, request):
        session = self._session(request)
        with self._new(session) as path:
            await run_in_threadpool(pictures.put_sample, request.path_params["name"], path)
            return await self._known(session, path)

    async def _ask(self, request):
        session, body = self._session(request), b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES_OF_JOBS:
                return _too_large("what the page asks for is too long; reload the page")
        try:
            data = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise UserError(asked.NO_JOB) from error
        job = self.queue.add(session, asked.job(data, session, self._place))
        return JSONResponse({"job": job.number})

    async def _cancel(self, request):
        self.queue.cancel(self._session(request), request.path_params["number"])
        return Response(status_code=204)

    async def _file(self, request):
        session = self._session(request)
        stored = session.file(request.path_params["file"])
        path, kind = stored.path, pictures.media_type(stored)
        if request.query_params.get("as") == "jpg":
            async with self._decoding:
                most = self._settings.max_pixels
                path = await run_in_threadpool(pictures.as_jpeg, session, path, most)
            kind = "image/jpeg"
        return FileResponse(path, media_type=kind, headers=_REPORT if kind == "text/html" else {})

    async def _refused(self, _, error):
        """The answer for what a user can mend, and for disks and memory that are full."""
        told = line(error, self.sessions.folder)
        if told is None:
            raise error
        if isinstance(error, UserError):
            status = 404 if isinstance(error, GoneError) else 400
        else:
            status = 507
        return JSONResponse({"error": told}, status)


_LARGE_FILE = (
    "the file has more than {:g} MB; choose a smaller one, or start the app with a larger "
    "--max-upload"
)


def _too_large(told):
    return JSONResponse({"error": told}, 413, headers={"connection": "close"})


async def _left(*_):
    return Response(status_code=400)  # nobody reads it


async def _bug(*_):
    """The answer; the server prints the traceback."""
    return JSONResponse({"error": A_BUG}, 500)
