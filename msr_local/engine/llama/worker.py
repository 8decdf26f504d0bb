"""The child of `engine.process`: reads requests from standard input, answers on what was standard output."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, BinaryIO


def main() -> None:
    """Serve until the parent closes the pipe or is gone."""
    threading.Thread(target=_end_with_parent, args=[os.getppid()], daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever native code prints must not end up among the answers
    requests = sys.stdin.buffer

    from .engine import LlamaEngine
    from .native import quantise

    engine: LlamaEngine | None = None
    while True:
        try:
            method, args, kwargs = pickle.load(requests)
        except EOFError:
            return
        try:
            if method == "start":
                engine = LlamaEngine(*args)
                _send(answers, "item", engine.facts)
            elif method == "quantise":
                quantise(*args, **kwargs)
                _send(answers, "item", None)
            else:
                for value in _items(getattr(engine, method)(*args, **kwargs)):
                    _send(answers, "item", value)
            _send(answers, "done", None)
        except BrokenPipeError:
            return
        except Exception as error:
            _send(answers, "error", (error, traceback.format_exc()))


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


def _send(stream: BinaryIO, kind: str, value: Any) -> None:
    pickle.dump((kind, value), stream)
    stream.flush()


if __name__ == "__main__":
    main()
