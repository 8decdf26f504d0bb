"""How a model is named: one spec for the command line and for Python. Nothing is looked up here but whether a file is.

`embedded`, an alias (`smolvlm2-500m`), `FILE.gguf`, `ORG/REPO[@REV][:QUANT]`, `hf.co/…`, `hf://ORG/REPO[@REV]/FILE`,
`http://host/v1#name`.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from ..engine.types import API_KEY
from ..errors import ModelError
from ..files import expanded
from . import own_aliases
from .aliases import ALIASES

EMBEDDED, NONE = "embedded", "none"

_HUB = re.compile(r"hf://|(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/")
_ID = r"(?P<id>[\w][\w.-]*/[\w][\w.-]*)"
_REVISION = r"(?:refs/pr/\d+|[\w.-]+)"
_REPOSITORY = re.compile(
    rf"{_ID}(?:@(?P<at>{_REVISION}))?(?::(?P<quant>\w[\w.-]*))?(?:/(?:(?:resolve|blob)/(?P<in>{_REVISION})/)?"
    r"(?P<file>[^?#]+\.gguf))?(?:/tree/[\w.-]+)?/?(?:\?.*)?"
)
_PATHS = ("/", "./", "../", "~", ".\\", "..\\")


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of GGUF files on a hub: which of them is meant, by quantisation or by name."""

    id: str
    quant: str | None = None
    revision: str | None = None  # a branch, tag or commit
    file: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        quant = f":{self.quant}" if self.quant else ""
        return f"hf://{self.id}{revision}/{self.file}" if self.file else f"{self.id}{revision}{quant}"


@dataclass(frozen=True, slots=True)
class Server:
    """A model behind an OpenAI-compatible server."""

    url: str
    name: str


def parse(spec: str | Path) -> str | Path | Repository | Server:
    """What `spec` names: `EMBEDDED`, a file's path, a repository or a server. An alias is its repository.

    A file that is there wins over all other meanings. Raises `ModelError` for what is no spec.
    """
    if isinstance(spec, Path):
        return _file(spec)
    if spec == EMBEDDED:
        return EMBEDDED
    hub = _HUB.match(spec)
    if not hub and re.match(r"https?://", spec):
        return _server(*spec.split("#", 1))
    path = expanded(spec)
    there = os.path.exists(path)  # noqa: PTH110 - nor does this, for a name that is too long
    if not hub and (there or spec.startswith(_PATHS) or "\\" in spec or spec.lower().endswith(".gguf")):
        return _file(path)
    alias, _, quant = spec.partition(":")
    if entry := ALIASES.get(alias.lower()):
        return Repository(entry.repository, quant or None)
    if "/" not in alias and (named := own_aliases.own().get(alias)):
        found = parse(named)
        return replace(found, quant=quant, file=None) if quant and isinstance(found, Repository) else found
    match = _REPOSITORY.fullmatch(spec[hub.end() :] if hub else spec)
    if not match or ".." in match["id"]:
        near = difflib.get_close_matches(alias.lower(), [*ALIASES, *own_aliases.own()], n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise ModelError(
            f"{spec}: no such model: neither a file, an alias nor ORG/REPO[:QUANT].{hint} Next: msr-local models list."
        )
    if match["file"] and ".." in match["file"].split("/"):
        raise ModelError(f"{spec}: not a path inside a repository. Next: hf://ORG/REPO/FILE.gguf.")
    return Repository(match["id"], match["quant"], match["at"] or match["in"], match["file"])


def _server(url: str, name: str = "") -> Server:
    """A server by its address, which is kept and shown: so it may hold no key. Without a path it is that of /v1."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if not parts.hostname or "@" in parts.netloc or parts.query:
        raise ModelError(
            "the address of a server is http://HOST[:PORT]/v1, with neither user, password nor query. "
            f"Next: put its key into the environment variable {API_KEY}."
        )
    return Server(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}", name)


def _file(path: Path) -> Path:
    path = expanded(path)
    if os.path.isdir(path):  # noqa: PTH112 - this never raises
        raise ModelError(f"{path}: a folder, not a model. Next: give the GGUF file in it.")
    return path
