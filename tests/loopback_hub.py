"""A model hub on the loopback interface: as much of the Hugging Face Hub's HTTP as is asked for here."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL, GATED, PRIVATE = "tiny/llama", "tiny/gated", "tiny/private"
REVISIONS = ("main", "v1", COMMIT)


def described(path: Path, folder: Path) -> dict[str, object]:
    """A file as the hub's model info has it."""
    body = path.read_bytes()
    found = {"rfilename": path.relative_to(folder).as_posix(), "size": len(body), "blobId": "0" * 40}
    if path.suffix in (".gguf", ".safetensors"):
        found["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 130}
    return found


class Hub:
    """`folder` is served as `MODEL` and, with its files closed, as `GATED`; `PRIVATE` says 401, all else 404."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []  # "GET /path", with the range where one was asked for
        self.cut: set[str] = set()  # files whose next answer breaks off in the middle
        self.wrong: set[str] = set()  # files that come with a byte changed
        self.slow = 0.0  # seconds before the second half of each file
        self.tokens: set[str] = set()  # that came along
        self.busy: list[tuple[str, int]] = []  # (beginning of a path, status): refusals that are still to come
        self.page: str | None = None  # that comes instead of any answer
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                hub.asked.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
                hub.tokens.add(self.headers.get("Authorization", ""))
                path = self.path.split("?")[0].strip("/").split("/")
                if hub.page is not None:
                    self.answer(200, hub.page.encode(), {})
                    return
                if refusal := next((one for one in hub.busy if self.path.startswith(one[0])), None):
                    hub.busy.remove(refusal)
                    self.answer(refusal[1], b"{}", {"Retry-After": "0"})
                    return
                if path[:2] == ["api", "models"]:
                    self.info("/".join(path[2:4]), path[5] if len(path) > 5 else "main", tree="tree" in path[4:5])
                elif len(path) > 4 and path[2] == "resolve":
                    self.file("/".join(path[:2]), path[3], "/".join(path[4:]))
                else:
                    self.refuse(404, "EntryNotFound")

            def info(self, name: str, revision: str, *, tree: bool) -> None:
                if name == PRIVATE:
                    self.refuse(401, "")
                elif name not in (MODEL, GATED):
                    self.refuse(404, "RepoNotFound")
                elif revision not in REVISIONS:
                    self.refuse(404, "RevisionNotFound")
                else:
                    files = sorted(path for path in hub.folder.rglob("*") if path.is_file())
                    facts: object = {
                        "id": name,
                        "sha": COMMIT,
                        "siblings": [described(path, hub.folder) for path in files],
                        "cardData": {"license": "mit"},
                    }
                    if tree:
                        facts = [
                            {
                                "type": "file",
                                "path": path.relative_to(hub.folder).as_posix(),
                                "size": path.stat().st_size,
                                "oid": path.name,
                            }
                            for path in files
                        ]
                    self.answer(200, json.dumps(facts).encode(), {"Content-Type": "application/json"})

            def file(self, name: str, revision: str, file: str) -> None:
                path = hub.folder / file
                if name == GATED:
                    self.refuse(403, "GatedRepo")
                elif name != MODEL or revision not in REVISIONS or not path.is_file():
                    self.refuse(404, "EntryNotFound")
                else:
                    body = path.read_bytes()
                    etag = hashlib.sha256(body).hexdigest()
                    if file in hub.wrong:
                        body = body[:-1] + bytes([body[-1] ^ 1])
                    first = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
                    headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
                    if first:
                        headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
                    self.answer(206 if first else 200, body[first:], headers, cut=file in hub.cut)

            def refuse(self, status: int, code: str) -> None:
                self.answer(status, b"{}", {"X-Error-Code": code} if code else {})

            def answer(self, status: int, body: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    if cut:
                        hub.cut.clear()
                        self.close_connection = True
                    middle = len(body) // 2
                    self.wfile.write(body[:middle])
                    if hub.slow and "/resolve/" in self.path:
                        self.wfile.flush()
                        time.sleep(hub.slow)
                    if not cut:
                        self.wfile.write(body[middle:])

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def serve(folder: Path) -> Iterator[Hub]:
    """A hub that runs until the block ends."""
    hub = Hub(folder)
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        hub.server.server_close()
        thread.join()
