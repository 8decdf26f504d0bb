"""The child of `.process`: reads requests from standard input, answers on what was standard output."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, BinaryIO

STOP = "stop"  # the request that ends the one before it
Request = tuple[int, str, tuple[Any, ...], dict[str, Any]]  # its number, the method, and its arguments


def main() -> None:
    """Serve until the parent closes the pipe or is gone."""
    threading.Thread(target=_end_with_parent, args=[os.getppid()], daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever native code prints must not end up among the answers
    requests: queue.Queue[Request | None] = queue.Queue()
    threading.Thread(target=_receive, args=[sys.stdin.buffer, requests], daemon=True).start()

    from .engine import LlamaEngine
    from .native import quantise

    engine: LlamaEngine | None = None
    while (request := requests.get()) is not None:
        number, method, args, kwargs = request
        try:
            if method == "start":
                engine = LlamaEngine(*args)
                _send(answers, number, "item", engine.facts)
            elif method == "quantise":
                quantise(*args, **kwargs)
                _send(answers, number, "item", None)
            elif method != STOP:
                for value in _items(getattr(engine, method)(*args, **kwargs)):
                    _send(answers, number, "item", value)
                    if not requests.empty():  # nobody waits for the rest
                        break
            _send(answers, number, "done", None)
        except BrokenPipeError:
            return
        except Exception as error:
            _send(answers, number, "error", (error, traceback.format_exc()))


def _receive(stream: BinaryIO, requests: queue.Queue[Request | None]) -> None:
    """Read ahead, so that a request which ends another is seen while that is still answered."""
    with contextlib.suppress(EOFError):
        while True:
            requests.put(pickle.load(stream))
    requests.put(None)


def _end_with_parent(parent: int) -> None:
    # A long native call would not notice the closed pipe for minutes.
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _items(result: Any) -> Iterator[Any]:
    if isinstance(result, Iterator):
        yield from result
    else:
        yield result


def _send(stream: BinaryIO, number: int, kind: str, value: Any) -> None:
    pickle.dump((number, kind, value), stream)
    stream.flush()


if __name__ == "__main__":
    main()
