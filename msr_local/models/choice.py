"""Which models answer: the caller's, else the workspace's, else the embedded default; and with which adapter.

The one place that reads and writes what a workspace has chosen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..engine.llama import kinds
from ..engine.types import CAPTION, SCORE, SUMMARY, EngineConfig, ServerConfig
from ..errors import InputError, ModelError, MsrError
from ..files import package_data, sha256
from ..prompts import PromptTemplate
from ..recipes import RECIPES, Recipe
from ..store.workspace import Workspace, fingerprint
from . import embedded, names, registry, shipped
from .asking import Asking
from .find import Files, check, find, missing, model_sha256, unsaid
from .manifest import FILE_NAME, Manifest
from .names import Server
from .prepared import copy_of, to_compute_with
from .spec import Cast, Fused, Scorer

__all__ = ["Asking", "Cast", "Scorer", "answering", "cast", "choose", "chosen_model", "use_adapter", "use_model"]

_SETTING = "model"
_WRITES = {CAPTION: "captions", SUMMARY: "summaries"}
NONE = registry.NONE


def cast(workspace: Workspace, asking: Asking = Asking(), note: Callable[[str], None] = unsaid) -> Cast:
    """The models to answer with, one a role, and the recipe to ask them with.

    By default the workspace's active adapter answers; a `model` that is asked for answers without it. The embedded
    model comes with its projector, its adapters for captions and summaries, and, unless another one is active, its
    recommender. The recipe is by default the one that the adapter was trained with. What was not asked for is said to
    `note`: a projector that was found beside the model, or an adapter that is left out since the prompt is another one.

    Raises `InputError` for an unknown recipe, and `ModelError` for a projector without its model, for a model that is
    not here, for unreadable files, and for an adapter that does not fit its model, its files or the active prompts.
    """
    if asking.projector and not asking.model:
        raise ModelError("--mmproj also needs --model. Next: give the model that this projector belongs to.")
    named = names.parse(asking.model) if asking.model else None
    if isinstance(named, Server):
        plain = _of_server(asking, named)
    else:
        files = find(asking.model, asking.projector, note) if asking.model else chosen_files(workspace)
        origin = "option" if asking.model else "workspace"
        plain = _of_files(asking, files, origin, note) if files else embedded_cast(workspace, asking, note)
    found = plain if asking.model and asking.adapter is None else _answered(workspace, plain, asking.adapter, note)
    return replace(found, recipe=_recipe(asking, found.scorer))


def _recipe(asking: Asking, scorer: Scorer | None) -> Recipe:
    if asking.recipe and asking.recipe not in RECIPES:
        raise InputError(f"there is no recipe {asking.recipe!r}. Next: one of {', '.join(RECIPES)}.")
    tuned = scorer.recipe if scorer else RECIPES["full"]
    chosen = RECIPES[asking.recipe] if asking.recipe else tuned
    return chosen.with_history(asking.block_size, asking.window, asking.direct or chosen.direct)


def _of_server(asking: Asking, server: Server) -> Cast:
    """The server's address and its name for the model stand for the model: nothing tells when it is another one."""
    config = ServerConfig(server.url, server.name, sees=asking.projector != NONE, context=asking.context)
    identity = fingerprint("server", server.url, server.name)
    return Cast(config, identity, identity if config.sees else None, "option")


def _of_files(asking: Asking, files: Files, origin: str, note: Callable[[str], None]) -> Cast:
    try:
        hashes = model_sha256(files.model), sha256(files.projector) if files.projector else None
    except OSError as error:
        raise missing(Path(error.filename or files.model), error.strerror or str(error)) from error
    scaled = kinds.scaled(files.projector, asking.image_tokens) if files.projector else ""
    config = _config(asking, files.model, files.projector)
    if not asking.as_is and (copy := copy_of(files.model, hashes[0])):
        config = replace(config, copy=copy)
        if not copy.exists():
            note(f"{files.model.name} is computed with as its F16 copy, made once: {copy}. Next: --as-is to decline.")
    return Cast(config, *hashes, origin, scaled=scaled)


def _config(asking: Asking, model: Path, projector: Path | None) -> EngineConfig:
    return EngineConfig(
        model, projector, context=asking.context, threads=asking.threads, image_detail=asking.image_detail,
        image_tokens=asking.image_tokens, gpu_layers=asking.gpu_layers,
    )  # fmt: skip


def embedded_cast(workspace: Workspace, asking: Asking = Asking(), note: Callable[[str], None] = unsaid) -> Cast:
    """The embedded model with its projector and its adapters for captions and summaries, but no recommender.

    An adapter that was trained with another prompt than the workspace's own is left out, which is said to `note`.
    Raises `ModelError`.
    """
    model = embedded.prepare()
    eyes = shipped.find(shipped.EYES)
    parts = {CAPTION: shipped.find(shipped.CAPTIONER), SUMMARY: shipped.find(shipped.SUMMARISER)}
    fitting = {
        role: part
        for role, part in parts.items()
        if part and _fits(workspace, part.manifest["prompts"], f"its adapter for {_WRITES[role]}", note)
    }
    config = replace(
        _config(asking, model, eyes.file if eyes else None), adapters={role: one.file for role, one in fitting.items()}
    )
    tuned = {role: part.sha256 for role, part in fitting.items()}
    return Cast(config, sha256(model), eyes.sha256 if eyes else None, "embedded", tuned=tuned)


def unasked_cast(workspace: Workspace, asking: Asking = Asking(), note: Callable[[str], None] = unsaid) -> Cast:
    """For work that asks no model: the models that would answer, or a cast of none where they are not here.

    Nothing is prepared for it. What is missing is said to `note`; captions and answers of none are those of nobody.
    """
    plain = asking.model in (None, names.EMBEDDED) and not (asking.model is None and chosen_model(workspace))
    try:
        if not plain or embedded.prepared_path().exists():
            return cast(workspace, asking, note)
        why = "The embedded model is not prepared yet"
    except MsrError as error:
        why = str(error).rstrip(".")
    note(f"{why}. It is not asked, so this goes on without the captions that it made.")
    return Cast(EngineConfig(Path("none")), "none", None, "none", recipe=_recipe(asking, None))


# ---- adapters


class Tuned(NamedTuple):
    """A tuned recommender: its manifest and the folder of its files."""

    manifest: Manifest
    folder: Path


def _answered(workspace: Workspace, plain: Cast, name: str | None, note: Callable[[str], None]) -> Cast:
    """`plain` with the recommender called `name`, or else the active one, or else, if embedded, the shipped one."""
    active = registry.active(workspace)
    embedded_answers = plain.origin == "embedded"
    if name is None and active is None:
        ours = _default(workspace, note) if embedded_answers else None
        return _tuned(plain, ours, None) if ours else plain
    name = name or (active[0] if active else NONE)
    if name == NONE:
        return plain
    form = active[1] if active and active[0] == name else None  # whoever names it means the form that was chosen
    if embedded_answers and (ours := shipped_recommender(workspace, name)):
        shipped.find(shipped.RECOMMENDER)  # raises where it does not fit
        registry.check_prompts(ours.manifest, prompt_hashes(workspace, ours.manifest.prompts))
        return _tuned(plain, ours, None)
    manifest = registry.find(workspace, name)
    registry.check(workspace, manifest, prompt_hashes(workspace, manifest.prompts))
    registry.check_base(manifest, plain.sha256, plain.projector_sha256)
    return _tuned(plain, Tuned(manifest, registry.folder(workspace, manifest.name)), form)


def _tuned(plain: Cast, recommender: Tuned, form: str | None) -> Cast:
    """`plain` with a tuned recommender beside it, in its first form if none is named."""
    manifest, folder = recommender
    form = form or next(iter(manifest.files))
    registry.check_form(manifest, form)
    entry, learned = manifest.files[form], manifest.fusion.get("learned")
    file = folder / entry["file"]
    if form == "merged":
        file = to_compute_with(file, entry["sha256"], quantised=entry["quantisation"] != "f16")
    scorer = Scorer(
        name=manifest.name,
        sees=manifest.base["mmproj_sha256"] is not None,
        form=form,
        file=file,
        sha256=entry["sha256"],
        max_length=manifest.settings["max_length"],
        by_hand=Fused(manifest.fusion["recall"], manifest.calibrated("recall")),
        learned=None if learned is None else Fused(learned, manifest.calibrated("learned")),
        recipe=Recipe.from_json(manifest.recipe),
        run_id=manifest.run_id,
        split=manifest.split,
    )
    config = plain.config
    assert isinstance(config, EngineConfig)  # no adapter was trained for a server's model
    adapters = config.adapters | ({SCORE: scorer.file} if form == "adapter" else {})
    return replace(plain, config=replace(config, adapters=adapters), scorer=scorer)


def shipped_recommender(workspace: Workspace, name: str | None = None) -> Tuned | None:
    """The recommender that comes with the embedded model, whether it fits or not; None where there is none to read.

    With `name`, only if it is called so and no adapter of the workspace is.
    """
    place = package_data("adapters") / shipped.RECOMMENDER
    try:
        manifest = Manifest.from_json(json.loads((place / FILE_NAME).read_text(encoding="utf-8")), place / FILE_NAME)
    except (OSError, ValueError, ModelError):
        return None
    if name is not None and (name != manifest.name or registry.exists(workspace, name)):
        return None
    return Tuned(manifest, place)


def _default(workspace: Workspace, note: Callable[[str], None] = unsaid) -> Tuned | None:
    """The shipped recommender, unless it was trained with another prompt: nobody asked for it by name."""
    if shipped.find(shipped.RECOMMENDER) is None:
        return None
    ours = shipped_recommender(workspace)
    return ours if ours and _fits(workspace, ours.manifest.prompts, "its recommender", note) else None


def answering(workspace: Workspace) -> tuple[str, str] | None:
    """Name and form of the recommender that answers by default, there or not; None for the plain model.

    A shipped recommender that does not fit this installation (`shipped.complaint`) does not answer.
    """
    chosen = registry.active(workspace)
    if chosen is not None:
        return None if chosen[0] == NONE else chosen
    if chosen_model(workspace) or shipped.complaint(shipped.RECOMMENDER):
        return None
    ours = _default(workspace)
    return (ours.manifest.name, next(iter(ours.manifest.files))) if ours else None


def misfit(workspace: Workspace, manifest: Manifest) -> str | None:
    """Why an adapter of the workspace cannot answer as its files and the prompts are now, or None."""
    try:
        registry.check(workspace, manifest, prompt_hashes(workspace, manifest.prompts))
    except (MsrError, OSError) as error:
        return str(error)
    return None


def prompt_hashes(workspace: Workspace, templates: Iterable[str]) -> dict[str, str]:
    """The present hashes of these prompt templates. Raises `PromptError` where one is missing or broken."""
    return {name: PromptTemplate(name, workspace.home / "prompts").sha256 for name in templates}


def _fits(workspace: Workspace, prompts: dict[str, str], what: str, note: Callable[[str], None]) -> bool:
    """Whether these prompts, as {template: sha256}, are the present ones; if not, it is said what is left out."""
    now = prompt_hashes(workspace, prompts)
    if others := ", ".join(f"{name}.j2" for name in prompts if now[name] != prompts[name]):
        note(
            f"The embedded model is used without {what}, which was trained with another {others} than the one of this "
            f"workspace. Next: take it out of {workspace.home / 'prompts'}."
        )
    return not others


# ---- what a workspace has chosen


def chosen_model(workspace: Workspace) -> dict[str, str | None] | None:
    """The workspace's own model, as {"model": path, "mmproj": path or None}; None for the embedded one."""
    kept: dict[str, str | None] | None = workspace.setting(_SETTING)
    return kept


def chosen_files(workspace: Workspace) -> Files | None:
    """The files of the workspace's own model; None for the embedded one."""
    kept = chosen_model(workspace)
    return Files(*_paths(kept)) if kept else None


def _paths(kept: Mapping[str, str | None]) -> tuple[Path, Path | None]:
    """Model and projector of a choice or of a manifest's base."""
    projector = kept["mmproj"]
    return Path(str(kept["model"])), Path(projector) if projector else None


def use_model(workspace: Workspace, model: Path | None, projector: Path | None = None) -> None:
    """Make `model` the workspace's choice; None goes back to the embedded default."""
    # Links stay links: their names say what the files are.
    absolute = [os.path.abspath(path) if path else None for path in (model, projector)]  # noqa: PTH100
    workspace.set_setting(_SETTING, dict(zip(("model", "mmproj"), absolute, strict=True)) if model else None)


def choose(
    workspace: Workspace, spec: str | Path, mmproj: str | Path | None = None, note: Callable[[str], None] = unsaid
) -> Files | None:
    """Make what `spec` names the workspace's choice, if it is a model that can answer; its files, None if embedded.

    `mmproj` and `note` are as for `find`. Raises `ModelError`, and nothing is changed then.
    """
    files = find(spec, mmproj, note)
    if files:
        check(files)
    use_model(workspace, *((files.model, files.projector) if files else (None, None)))
    return files


def use_adapter(workspace: Workspace, name: str, form: str = "adapter") -> None:
    """Let a tuned recommender, and the base model that it was made for, answer in `workspace`; "none" for no adapter.

    Raises `NotFoundError` when it is not there, and `ModelError` when its files, the active prompts or its base
    are not those of its training; nothing is changed then.
    """
    if name == NONE:
        registry.activate(workspace, NONE)
    elif ours := shipped_recommender(workspace, name):
        shipped.find(shipped.RECOMMENDER)  # raises where it does not fit
        registry.check_form(ours.manifest, form)
        registry.check_prompts(ours.manifest, prompt_hashes(workspace, ours.manifest.prompts))
        with workspace.write():  # both or neither
            registry.activate(workspace, None)
            use_model(workspace, None)
    else:
        manifest = registry.find(workspace, name)
        registry.check(workspace, manifest, prompt_hashes(workspace, manifest.prompts))
        base = _base(workspace, manifest)
        with workspace.write():
            registry.activate(workspace, name, form)
            use_model(workspace, *base)


def _base(workspace: Workspace, manifest: Manifest) -> tuple[Path | None, Path | None]:
    """Model and projector to use with an adapter: the workspace's own where they are the same, else the manifest's.

    (None, None) is the embedded model. Raises `ModelError` when the files of the base are gone or were changed.
    """
    base, kept = manifest.base, chosen_model(workspace)
    if base["name"] == "embedded":
        prepared = embedded.prepared_path()
        if prepared.exists():  # else it is made, and compared, when it is first asked
            registry.check_base(manifest, sha256(prepared), None)
        return None, None
    files = _paths(base)
    for some in (kept and _paths(kept), files):
        if some and _is_base(manifest, *some):
            return some
    for path in files:
        if path is not None and not path.is_file():
            raise ModelError(
                f"{path}: adapter {manifest.name} needs this base model file, which is missing. Next: restore it, or "
                f"msr-local models use FILE with a copy of it, then msr-local adapters use {manifest.name}."
            )
    raise ModelError(
        f"{base['model']}: this file has changed since adapter {manifest.name} was trained on it. "
        "Next: restore it, or msr-local finetune again."
    )


def _is_base(manifest: Manifest, model: Path, projector: Path | None) -> bool:
    try:
        registry.check_base(manifest, model_sha256(model), sha256(projector) if projector else None)
    except (OSError, ModelError):
        return False
    return True
