"""Who is let in, how much they may send, and the headers that keep a page to itself."""

from __future__ import annotations

import base64
import contextlib
import hmac

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import InputError

LARGEST = 16 * 1024 * 1024  # bytes of a request
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
}


class TooLarge(InputError):
    """A request of too many bytes."""


class Guard:
    """Lets in who has the token, if there is one, and reads `LARGEST` bytes of a request at most.

    The token comes as `Authorization: Bearer TOKEN`, or as the password that a browser asks for.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._token is not None and not _has(Request(scope).headers.get("authorization", ""), self._token):
            why = {"error": "a token is needed, as Authorization: Bearer TOKEN, or as a browser's password."}
            refusal = JSONResponse(why, 401, {"WWW-Authenticate": 'Basic realm="msr-local", charset="UTF-8"'})
            await refusal(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > LARGEST:
                raise TooLarge(f"a request has {LARGEST:,} bytes at most.")
            return message

        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in _SAFE.items()]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        await self._app(scope, counted, safely)


def _has(header: str, token: str) -> bool:
    kind, _, value = header.partition(" ")
    given = value.strip().encode("latin-1")  # as it was sent
    if kind.lower() == "basic":
        with contextlib.suppress(ValueError):
            given = base64.b64decode(given).partition(b":")[2]
    return kind.lower() in ("bearer", "basic") and hmac.compare_digest(given, token.encode())
