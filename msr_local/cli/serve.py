"""`msr-local serve`"""

from __future__ import annotations

import contextlib
import socket
from typing import Annotated

import typer

from ..errors import MsrError
from ..models.asking import Asking
from . import options as opt

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_BACKLOG = 2048  # connections that wait to be accepted


@opt.asking()
def serve(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Listen at this address.")] = "127.0.0.1",
    port: Annotated[int, opt.number("Listen at this port; 0: any that is free.", least=0, most=65535)] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="MSR_LOCAL_TOKEN", metavar="TOKEN", help="Answer only requests that carry this token.",
            show_default=False,
        ),
    ] = None,
    waiting: Annotated[int, opt.number("Let N requests wait; more are told to come again.")] = 64,
    *,
    asking: Asking,
) -> None:  # fmt: skip
    """Serve recommendations and explanations over HTTP, with a page to browse.

    One model answers all, one request after the other. Ctrl-C ends it; what was answered is kept.
    """
    if host not in _LOOPBACK and not token:
        raise typer.BadParameter(f"--host {host}: others can reach this address, so a --token is needed.")
    try:
        import uvicorn

        from ..serve.app import LOOPBACK, application
    except ImportError as error:
        raise MsrError("serve needs starlette and uvicorn. Next: pip install 'msr-local[serve]'.") from error
    from ..serve.desk import Desk

    session: opt.Session = ctx.obj
    with _listening(host, port) as listening:  # before the model is loaded, which takes a while
        desk = Desk(session.home, asking, waiting)
        site = application(session.home, desk, token=token, hosts=LOOPBACK if host in _LOOPBACK else ())
        config = uvicorn.Config(
            site, log_level="warning", access_log=False, timeout_graceful_shutdown=5, server_header=False
        )
        address = f"[{host}]" if ":" in host else host
        session.output.note(f"Serving {session.home} at http://{address}:{listening.getsockname()[1]}/ until Ctrl-C.")
        with contextlib.suppress(KeyboardInterrupt):  # which is how uvicorn hands on the signal that ended it
            uvicorn.Server(config).run([listening])


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens: whoever reads the address may connect at once."""
    family, both = (socket.AF_INET6, socket.has_dualstack_ipv6()) if ":" in host else (socket.AF_INET, False)
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise MsrError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror or error}). "
            "Next: another --port, or 0 for any that is free."
        ) from error
