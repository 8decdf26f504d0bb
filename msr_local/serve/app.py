"""The documents of the command line over HTTP, and pages for people."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ..catalogue.images import load_rgb
from ..catalogue.readers import read_interactions
from ..catalogue.where import chosen
from ..errors import InputError, MsrError, NotFoundError
from ..recipe.explanations import explain
from ..recipe.kept import Kept
from ..recipe.recommender import Recommender
from ..recipe.similar import similar
from ..store import catalogue, histories
from ..store.faults import Fault, said
from ..store.workspace import Workspace, now
from ..text import printable_json, storable
from ..viewer.report import browse_page, html_report
from .desk import Busy, Desk, Left
from .guard import Guard, TooLarge

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_MOST = 1000  # of a list
_LONGEST = 10_000  # items of a history that is sent, and characters of a condition: nothing stops them half-way
_THUMBNAIL = 320  # pixels
_TYPES = {"text/csv": ".csv", "application/x-ndjson": ".jsonl", "application/json": ".json"}
_WANTED = "send rows with user_id and item_id, and with timestamp and rating if they have any"
_USER, _ITEM, _LIMIT = ("user", "an id"), ("item", "an id"), ("limit", "entries at most")
_K = ("k", "items to recommend")
_HOW = [_K, ("candidates", "of recall that the model is asked about at most")]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path of the site, what it is for, and its parameters in the query."""

    path: str
    handler: Callable[[Request], Awaitable[Response]]
    summary: str
    parameters: Sequence[tuple[str, str]] = ()
    method: str = "GET"


class Site:
    """What is answered at each path; `desk` answers what needs the recommender."""

    def __init__(self, home: Path, desk: Desk) -> None:
        self._home, self._desk = home, desk
        self._kept: Kept | None = None

    @property
    def endpoints(self) -> list[Endpoint]:
        """All paths."""
        return [
            Endpoint("/", self._page, "A page to browse", [_USER, ("words", "of items")]),
            Endpoint("/health", self._health, "Whether it answers, and how many requests wait"),
            Endpoint("/openapi.json", self._described, "This description"),
            Endpoint("/users", self._users, "Users, the most active first", [_LIMIT]),
            Endpoint("/items", self._items, "Items, by words if there are any", [("words", "to search for"), _LIMIT]),
            Endpoint("/recommend/{user}", self._recommend, "What msr-local recommend USER --json prints", _HOW),
            Endpoint("/recommend", self._recommend, "The same, for ids with a slash", [_USER, *_HOW]),
            Endpoint("/recommend", self._recommend_anybody, "The same for somebody who is in no file: "
                     '{"history": [item ids, oldest first], "k": 10, "where": "a condition on items"}', method="POST"),
            Endpoint("/similar/{item}", self._similar, "What msr-local similar ITEM --json prints", [_K]),
            Endpoint("/similar", self._similar, "The same, for ids with a slash", [_ITEM, _K]),
            Endpoint("/explain/{user}/{item}", self._explain, "What msr-local explain USER ITEM --json prints, or, to "
                     "browsers, its page", _HOW),
            Endpoint("/explain/{user}", self._explain, "The same, of the first item that is recommended", _HOW),
            Endpoint("/explain", self._explain, "The same, for ids with a slash", [_USER, _ITEM, *_HOW]),
            Endpoint("/picture", self._picture, "The picture of an item, as a PNG", [_ITEM]),
            Endpoint("/interactions", self._interactions, "New interactions, as CSV, JSON or JSONL; told are counts "
                     "and the rows that cannot be used", method="POST"),
        ]  # fmt: skip

    async def _health(self, request: Request) -> Response:
        return _json({"status": "ok", "waiting": self._desk.waiting})

    async def _described(self, request: Request) -> Response:
        return _json(openapi(self.endpoints))

    async def _users(self, request: Request) -> Response:
        count = _number(request, "limit", 20)
        return _json(await self._read(lambda workspace: histories.users(workspace, count)))

    async def _items(self, request: Request) -> Response:
        count, words = _number(request, "limit", 20), _text(request, "words")
        return _json(await self._read(lambda workspace: histories.search_items(workspace, words, count)))

    async def _recommend(self, request: Request) -> Response:
        user, how = _needed(request, "user"), _how(request)
        found = await self._ask(request, lambda one: self._lists(one).recommend(user, *how))
        return _json(found.to_json())

    async def _recommend_anybody(self, request: Request) -> Response:
        given = await _object(request)
        history, k, where = given.get("history", []), given.get("k", 10), given.get("where")
        if not (isinstance(history, list) and all(isinstance(one, str) for one in history)):
            raise InputError("history: a list of item ids is needed.")
        if not (type(k) is int and 1 <= k <= _MOST):
            raise InputError(f"k: a number from 1 to {_MOST:,} is needed.")
        if not (where is None or isinstance(where, str)):
            raise InputError("where: a condition is needed, as a text.")
        if len(history) > _LONGEST or len(where or "") > _LONGEST:
            raise TooLarge(f"a history has {_LONGEST:,} items at most, and a condition as many characters.")

        def work(one: Recommender) -> Any:
            only = chosen(one.workspace, storable(where) if where else None)
            return one.recommend(one.stranger([storable(item) for item in history]), k, only=only).to_json()

        return _json(await self._ask(request, work))

    async def _similar(self, request: Request) -> Response:
        item, k = _needed(request, "item"), _number(request, "k", 10)
        return _json((await self._ask(request, lambda one: similar(one, item, k))).to_json())

    async def _explain(self, request: Request) -> Response:
        user, item, how = _needed(request, "user"), _text(request, "item"), _how(request)
        made = await self._ask(request, lambda one: explain(one, user, item, *how))
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(html_report(made))
        return _json(made.to_json())

    async def _page(self, request: Request) -> Response:
        user, words = _text(request, "user"), _text(request, "words")
        people = await self._read(lambda workspace: histories.users(workspace, 100))
        items = await self._read(lambda workspace: histories.search_items(workspace, words, 24))
        listed, wrong = None, ""
        if user:
            try:
                listed = await self._ask(request, lambda one: self._lists(one).recommend(user, 12))
            except NotFoundError as error:
                wrong = str(error)
        return HTMLResponse(browse_page(people, items, words or "", user or "", listed, wrong))

    async def _picture(self, request: Request) -> Response:
        item_id = _needed(request, "item")
        item = await self._read(lambda workspace: histories.item(workspace, item_id))
        if item is None or item.image is None:
            raise NotFoundError(f"there is no picture of {item_id!r}.")
        picture = await run_in_threadpool(_png, item.image)
        return Response(picture, media_type="image/png", headers={"Cache-Control": "max-age=3600"})

    async def _interactions(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _TYPES:
            raise InputError(f"the content type {kind!r} is none of {', '.join(_TYPES)}.")
        body = await request.body()
        return _json(await self._ask(request, lambda one: _added(one.workspace, body, _TYPES[kind])))

    async def _read(self, read: Callable[[Workspace], Any]) -> Any:
        """What needs no recommender is read beside it, by a connection of its own."""

        def work() -> Any:
            with Workspace(self._home) as workspace:
                return read(workspace)

        return await run_in_threadpool(work)

    def _lists(self, recommender: Recommender) -> Kept:
        """The lists of the desk's recommender; only for its thread."""
        if self._kept is None:
            self._kept = Kept(recommender)
        return self._kept

    async def _ask(self, request: Request, work: Callable[[Recommender], Any]) -> Any:
        return await self._desk.ask(work, request.is_disconnected)


def application(home: Path, desk: Desk, *, token: str | None = None, hosts: Sequence[str] = LOOPBACK) -> Starlette:
    """The site of the workspace at `home`. With `token`, every request must carry it. `desk` is closed at the end.

    Only requests to one of `hosts` are answered, if any are named: no page from elsewhere reaches it by another name.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(desk.close)

    middleware = [Middleware(Guard, token=token)]
    if hosts:
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)))
    foreseen = (MsrError, Busy, Left, TooLarge, ClientDisconnect)
    refusals: Mapping[Any, Any] = {**dict.fromkeys((*foreseen, Exception), _refused), Fault: _at_fault}
    routes = [Route(one.path, one.handler, methods=[one.method]) for one in Site(home, desk).endpoints]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=refusals, lifespan=lifespan)


def openapi(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The description of the site in the OpenAPI format."""
    paths: dict[str, Any] = {}
    for one in endpoints:
        inside = [part[1:-1] for part in one.path.split("/") if part.startswith("{")]
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in inside
        ] + [{"name": name, "in": "query", "description": says, "schema": {"type": "string"}}
             for name, says in one.parameters]  # fmt: skip
        paths.setdefault(one.path, {})[one.method.lower()] = {
            "summary": one.summary,
            "parameters": parameters,
            "responses": {"200": {"description": "the document"}},
        }
    return {"openapi": "3.1.0", "info": {"title": "msr-local", "version": "1"}, "paths": paths}


def _added(workspace: Workspace, body: bytes, suffix: str) -> dict[str, Any]:
    """Interactions as the reader of files takes them: the counts, and the rejects with their reasons."""
    name = Path(f"POST of {now()}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"interactions{suffix}"
        file.write_bytes(body)
        try:
            added = catalogue.add_interactions(workspace, name, read_interactions(file, {}))
        except InputError as error:  # nobody but us knows of the file, and options are for the command line
            what = str(error).replace(str(file), "what was sent").partition(" Next: ")[0].rstrip(".")
            raise InputError(f"{what}. Next: {_WANTED}.") from error
    rejects = [
        {key: one[key] for key in ("line", "reason", "raw")} for one in histories.rejects(workspace, None, [name])
    ]
    counts = {name: getattr(added, name) for name in ("new", "changed", "unchanged", "duplicate", "rejected")}
    return {**counts, "rejects": rejects}


def _png(path: Path) -> bytes:
    from PIL import Image

    small = load_rgb(path, longest_edge=_THUMBNAIL)
    file = io.BytesIO()
    Image.frombytes("RGB", (small.width, small.height), small.pixels).save(file, "PNG")
    return file.getvalue()


async def _object(request: Request) -> dict[str, Any]:
    """The JSON object that was sent; only as application/json, which no page from elsewhere can send unasked."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise InputError("the content type is not application/json.")
    try:
        given = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is no JSON: {error}.") from error
    if not isinstance(given, dict):
        raise InputError("a JSON object is needed.")
    return given


def _text(request: Request, name: str) -> str | None:
    value = request.path_params.get(name) or request.query_params.get(name)
    return storable(value) if value else None


def _needed(request: Request, name: str) -> str:
    value = _text(request, name)
    if value is None:
        raise InputError(f"the parameter {name} is missing.")
    return value


def _number(request: Request, name: str, default: int) -> int:
    value = request.query_params.get(name, str(default))
    if not (value.isascii() and value.isdigit() and len(value) < 9 and 1 <= int(value) <= _MOST):
        raise InputError(f"{name}={value[:40]}: a number from 1 to {_MOST:,} is needed.")
    return int(value)


def _how(request: Request) -> tuple[int, int]:
    return _number(request, "k", 10), _number(request, "candidates", 100)


def _json(content: Any, status: int = 200) -> Response:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return Response(printable_json(text).encode("utf-8", "replace"), status, media_type="application/json")


def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, Busy):
        response = _json({"error": "too many requests are waiting. Next: try again in a moment."}, 503)
        response.headers["Retry-After"] = "2"
        return response
    if isinstance(error, (Left, ClientDisconnect)):
        return Response(status_code=499)
    for kind, status in ((TooLarge, 413), (NotFoundError, 404), (InputError, 400)):
        if isinstance(error, kind):
            return _json({"error": str(error)}, status)
    if isinstance(error, MsrError):
        return _json({"error": str(error)}, 500)
    # Not foreseen, so it is also printed with its traceback where the site runs.
    told = f"this went wrong: {str(error) or type(error).__name__}. Next: try again, or see what the site printed."
    return _json({"error": told}, 500)


def _at_fault(request: Request, error: Fault) -> Response:
    """Of the database: locked, full, damaged; what nobody has words for is a bug, and told as such."""
    words = said(error)
    if words is None:
        raise error
    return _json({"error": words}, 503)
