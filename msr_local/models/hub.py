"""Models from a hub: which files to fetch is read from the hub, and they go into the cache that others share.

A file is written beside its place, taken up again where a connection or a process ended, compared with the hub's
SHA-256, and only then moved. What a hub says is foreign: names that lead out of the cache are refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import filelock

from ..engine.llama.kinds import parts, require_model, require_projector
from ..errors import FileError, ModelError
from ..files import remove as delete
from ..progress import Progress, silent
from . import hub_cache, picking
from .find import Files, find, unsaid
from .names import NONE, Repository, Server, parse

AUTO = "auto"  # of a projector: the one that the repository has for the model
_PAUSE, _TRIES = 1.0, 5  # seconds between tries, and how many of them in a row may bring nothing
_BUSY, _LONGEST_PAUSE = (408, 429, 500, 502, 503, 504), 60.0  # statuses that pass; seconds that a hub may ask for
_TIMEOUT = 30.0  # seconds without a byte
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of a repository; `sha256` is what the hub says of it, if it does."""

    path: str
    bytes: int
    blob: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pull fetches: the files of a model, the first one first, and its projector."""

    repository: Repository
    commit: str
    licence: str | None
    model: tuple[Wanted, ...]
    projector: Wanted | None

    @property
    def files(self) -> list[Wanted]:
        """All of them."""
        return [*self.model, *([self.projector] if self.projector else [])]

    @property
    def missing(self) -> list[Wanted]:
        """Those that are not in the cache."""
        return [one for one in self.files if not _whole(_blob(self, one), one)]

    def to_json(self) -> dict[str, Any]:
        missing = {one.path for one in self.missing}
        files = [{"file": one.path, "bytes": one.bytes, "here": one.path not in missing} for one in self.files]
        return {
            "repository": self.repository.id,
            "commit": self.commit,
            "licence": self.licence,
            "bytes": sum(one.bytes for one in self.files),
            "to_download": sum(one.bytes for one in self.missing),
            "files": files,
        }


def offline() -> bool:
    """Whether the environment says that no hub is to be asked."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def plan(spec: str, mmproj: str = AUTO) -> Plan:
    """Ask the hub which files `spec` means. `mmproj`: "auto", "none", or a projector's path in the repository.

    Raises `ModelError` for what is on no hub, what the hub refuses, and a repository without such files.
    """
    named = _repository(spec)
    if offline():
        raise ModelError(f"{named}: HF_HUB_OFFLINE is set, so no hub is asked. Next: unset it, or msr-local models.")
    with told(named.id, named.revision):
        info = _described(named)
        there = {one.rfilename: one for one in info.siblings or () if one.rfilename.endswith(".gguf")}
    if not there:
        raise ModelError(f"{named}: this repository has no GGUF file. Next: one whose name ends with -GGUF.")
    model = named.file or picking.model(there, named.quant)
    known = picking.models(there)
    if model is None or model not in known:
        raise ModelError(f"{named}: no such model there, but {', '.join(known) or 'none'}. Next: name one of them.")
    files = [part.as_posix() for part in parts(PurePosixPath(model))]
    if gap := [path for path in files if path not in there]:
        raise ModelError(f"{named}: {gap[0]}, a part of the model, is not there. Next: choose another quantisation.")
    eyes = picking.projectors(there, model)
    wanted = next(iter(eyes), None) if mmproj == AUTO else mmproj if mmproj != NONE else None
    if wanted and wanted not in there:
        raise ModelError(f"{named}: no {wanted} there, but {', '.join(eyes) or 'none'}. Next: --mmproj auto or none.")
    if not hub_cache.COMMIT.fullmatch(str(info.sha)):
        raise ModelError(f"{named}: the hub names no commit. Next: check HF_ENDPOINT.")
    return Plan(
        replace(named, file=model),
        str(info.sha),
        _licence(info),
        tuple(_wanted(named, there[path]) for path in files),
        _wanted(named, there[wanted]) if wanted else None,
    )


def pull(plan: Plan, *, progress: Progress = silent, note: Callable[[str], None] = unsaid) -> Files:
    """Fetch what is missing of `plan`, and look at it; where the files are.

    Raises `FileError` where the disk has no room, before anything is fetched, and `ModelError` for files that are not
    what the hub says, or not a model. What was fetched is kept for the next try.
    """
    _check_room(plan)
    total = sum(one.bytes for one in plan.missing)
    done = 0
    for one in plan.missing:

        def moved(have: int, before: int = done) -> None:
            progress("download", (before + have) // _MEGABYTE, total // _MEGABYTE)

        _fetch(plan, one, moved, note)
        done += one.bytes
    revision = plan.repository.revision
    model, *others = (
        hub_cache.keep(plan.repository.id, plan.commit, revision, one.path, _blob(plan, one)) for one in plan.files
    )
    files = Files(model, others[-1] if plan.projector else None)
    head = require_model(files.model)
    if files.projector:
        require_projector(files.projector, head)
    return files


def here(spec: str, mmproj: str = AUTO, note: Callable[[str], None] = unsaid) -> Files:
    """The files of `spec` without asking a hub. Raises `ModelError` where they are not all in the cache."""
    named = _repository(spec)
    files = find(str(named), NONE if mmproj == NONE else None, note)
    assert files is not None  # a repository is not the embedded model
    if mmproj not in (AUTO, NONE):
        folder = next(one.place for one in hub_cache.of(named.id) if files.model.is_relative_to(one.place))
        files = replace(files, projector=folder / mmproj)
    for path in (*parts(files.model), *([files.projector] if files.projector else [])):
        if not path.is_file():
            raise ModelError(f"{path}: not in the cache. Next: msr-local models pull {named}, online.")
    return files


def remove(spec: str) -> dict[str, Any]:
    """Delete a model from the cache, and the projectors of its commit with the last model there; what was deleted.

    Raises `ModelError` for what is not in the cache: only what can be pulled again is deleted.
    """
    files = find(spec, NONE)
    pulled = hub_cache.repository_of(files.model) if files else None
    if files is None or pulled is None or not files.model.is_relative_to(hub_cache.folder()):
        raise ModelError(
            f"{spec}: not in the hub's cache ({hub_cache.folder()}). Next: delete files of your own by hand."
        )
    id, commit, file = pulled
    (one,) = hub_cache.of(id, commit)
    gone = [part.as_posix() for part in parts(PurePosixPath(file))]
    if picking.models(one.files()) == [file]:
        gone = [*gone, *(path for path in one.files() if path not in gone)]
    gone = [path for path in gone if path in one.files()]
    return {"repository": id, "commit": commit, "files": gone, "bytes": hub_cache.forget(one, gone)}


# ---- one file


def _fetch(plan: Plan, one: Wanted, moved: Callable[[int], None], note: Callable[[str], None]) -> None:
    """Bring a file into the cache, one process at a time."""
    blob = _blob(plan, one)
    locked = hub_cache.folder() / ".locks" / hub_cache.home(plan.repository.id).name / f"{one.blob}.lock"
    try:
        for place in (blob, locked):
            place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(locked, lambda: note(f"Another process is downloading {one.path}; waiting for it.")):
            if _whole(blob, one):
                return
            part = blob.with_name(f"{one.blob}.incomplete")
            with told(plan.repository.id, plan.commit):
                _download(plan, one, part, moved)
            size, found = part.stat().st_size, _sha256(part) if one.sha256 else None
            if (size, found) != (one.bytes, one.sha256):
                delete(part)
                raise ModelError(
                    f"{one.path}: what came is not what the hub describes ({size:,} of {one.bytes:,} bytes, SHA-256 "
                    f"{found} instead of {one.sha256}); it was deleted. "
                    "Next: run the same command again, or check HF_ENDPOINT."
                )
            part.replace(blob)
    except OSError as error:
        raise FileError(
            f"{blob.parent}: cannot be written ({error.strerror}). "
            "Next: free disk space, or set HF_HUB_CACHE to a folder that can be."
        ) from error


def _download(plan: Plan, one: Wanted, part: Path, moved: Callable[[int], None]) -> None:
    """Append to `part` what it lacks; a connection that is cut is taken up where it ended."""
    import httpx
    from huggingface_hub import errors, get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    url = hf_hub_url(plan.repository.id, one.path, revision=plan.commit, endpoint=_endpoint())
    left = _TRIES
    while (have := part.stat().st_size if part.exists() else 0) < one.bytes:
        problem: Exception = httpx.RemoteProtocolError("the hub sends less than it says")
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        try:
            with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT) as answer:
                hf_raise_for_status(answer)
                resumed = answer.status_code == 206
                with part.open("ab" if resumed else "wb") as file:
                    for chunk in answer.iter_raw():
                        file.write(chunk)
                        moved(file.tell())
                        if file.tell() > one.bytes:  # it may never end
                            return
        except (
            httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError, errors.HfHubHTTPError
        ) as error:  # fmt: skip
            problem = error
        if part.exists() and part.stat().st_size > have:
            left = _TRIES
        else:
            left -= 1
            _wait(problem, left)


def _wait(problem: Exception, left: int) -> None:
    """Wait before the next of `left` tries; raises `problem` where there is none, or where none would help."""
    answer = getattr(problem, "response", None)
    if left == 0 or (answer is not None and answer.status_code not in _BUSY):
        raise problem
    after = answer.headers.get("Retry-After", "") if answer is not None else ""
    time.sleep(min(float(after), _LONGEST_PAUSE) if after.isdecimal() else _PAUSE)


@contextlib.contextmanager
def _alone(place: Path, waiting: Callable[[], None]) -> Iterator[None]:
    lock = filelock.FileLock(place)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _blob(plan: Plan, one: Wanted) -> Path:
    return hub_cache.home(plan.repository.id) / "blobs" / one.blob


def _whole(blob: Path, one: Wanted) -> bool:
    return blob.is_file() and blob.stat().st_size == one.bytes


def _sha256(path: Path) -> str:
    read = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            read.update(chunk)
    return read.hexdigest()


def _check_room(plan: Plan) -> None:
    missing, place = plan.missing, hub_cache.folder()
    begun = [_blob(plan, one).with_name(f"{one.blob}.incomplete") for one in missing]
    needed = sum(one.bytes for one in missing) - sum(path.stat().st_size for path in begun if path.exists())
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise FileError(
            f"{place}: {needed / 1e9:.2f} GB are to be downloaded, and {free / 1e9:.2f} GB are free. "
            "Next: free disk space, set HF_HUB_CACHE to another disk, or choose a smaller quantisation."
        )


# ---- what the hub says


def _repository(spec: str) -> Repository:
    named = parse(spec)
    if isinstance(named, Repository):
        return named
    where = "on a server" if isinstance(named, Server) else "on this machine"
    raise ModelError(f"{spec}: this is {where}, not on a hub. Next: msr-local models pull ORG/REPO[:QUANT].")


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _described(named: Repository) -> Any:
    """What the hub says of a repository; a busy hub is asked again."""
    from huggingface_hub import HfApi, errors

    left = _TRIES
    while True:
        try:
            return HfApi(endpoint=_endpoint()).model_info(named.id, revision=named.revision, files_metadata=True)
        except errors.HfHubHTTPError as error:
            left -= 1
            _wait(error, left)


def _wanted(named: Repository, one: Any) -> Wanted:
    """A file as the hub describes it. Raises `ModelError` where that cannot be, or would lead out of the cache."""
    path, sha256 = str(one.rfilename), one.lfs.sha256 if one.lfs else None
    blob, pure = str(sha256 or one.blob_id), PurePosixPath(path)
    plain = not pure.is_absolute() and ".." not in pure.parts and "\\" not in path and ":" not in path
    if not plain or not _BLOB.fullmatch(blob) or not isinstance(one.size, int) or one.size < 0:
        raise ModelError(f"{named}: the hub describes {path!r} in a way that cannot be. Next: check HF_ENDPOINT.")
    return Wanted(path, one.size, blob, sha256)


def _licence(info: Any) -> str | None:
    card = info.card_data or {}
    found = card.get("license_name") or card.get("license")
    return str(found) if found else None


@contextlib.contextmanager
def told(id: str, revision: str | None, unreachable: str = "Next: try again online, or --offline.") -> Iterator[None]:
    """Errors of the hub and of the way there in our own words, without tokens and signed addresses."""
    import httpx
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{id} is gated: its terms have to be accepted. Next: do so on its page, then set HF_TOKEN."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{id} has no revision {revision}. Next: check the spelling.") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{id}: there is no such repository on the hub, or it is private. "
            "Next: check the spelling, or set HF_TOKEN."
        ) from error
    except errors.HFValidationError as error:
        raise ModelError(f"{id}: not a valid name of a repository. Next: ORG/REPO.") from error
    except (httpx.ConnectError, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        why = safe_reason(error.__cause__ or error)
        raise ModelError(f"{id}: the hub cannot be reached ({why}). {unreachable}") from error
    except httpx.HTTPError as error:
        if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
            raise ModelError(
                f"{id}: the hub refuses access ({safe_reason(error)}). Next: set HF_TOKEN to a token that may read it."
            ) from error
        raise ModelError(
            f"{id}: downloading it failed ({safe_reason(error)}). "
            "Next: run the same command again; what was downloaded is kept."
        ) from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # a page of some proxy; a token in bytes
        raise ModelError(
            f"{id}: what came is no answer of a model hub ({type(error).__name__}). "
            "Next: check HF_ENDPOINT and HF_TOKEN."
        ) from error


def safe_reason(error: Exception) -> str:
    """The first line of an error, without the token and without what follows "?" in an address: it may be signed."""
    from huggingface_hub import get_token

    text = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
    if token := get_token():
        text = text.replace(token, "…")
    text = re.sub(r"://[^/\s@]*@", "://", text)
    return re.sub(r"(https?://[^\s?]+)\?\S*", r"\1", text)
