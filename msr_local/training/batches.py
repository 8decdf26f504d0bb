"""Rows as tensors: token ids from the engine, pictures prepared as the engine prepares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Vector
from ..engine.types import IMAGE_CELL
from ..errors import ModelError
from .pictures import Pictures
from .rows import NO, YES, Row

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Answers:
    """Token ids of the answers: the one to be trained for each, and all spellings that the engine counts."""

    yes: int
    no: int
    all_yes: tuple[int, ...]
    all_no: tuple[int, ...]


Group = Sequence[Row]  # questions about one moment of one user: they begin alike


def grouped(rows: Sequence[Row]) -> list[Group]:
    """Neighbours that share their prefix, together."""
    return [list(group) for _, group in groupby(rows, key=lambda row: row.prefix)]


@dataclass(frozen=True, slots=True)
class Collator:
    """Makes tensors of groups of rows.

    With `share`, the tokens that a group has in common are computed once: the questions' ends follow one
    another, each at the position it would have alone, and attend to the common part and themselves only. The result
    is that of separate rows. It needs an attention that takes any mask (sdpa), so it is for plain transformers.
    """

    answers: Answers
    pixels: Pictures | None
    image_token: int | None
    share: bool = True
    device: str = "cpu"

    def __call__(self, groups: Sequence[Group]) -> dict[str, Any]:
        """The model's inputs, and of the R rows: `where` [R, 2] (line and position of the question's last token),
        `answers` [R], `groups` [R], the number of the group, and `blend` [R]."""
        import torch

        numbers = [number for number, group in enumerate(groups) for _ in group]
        if not self.share:
            groups = [[row] for group in groups for row in group]
        lines = [_Line(group) for group in groups]
        longest = max(len(line.ids) for line in lines)
        ids = torch.zeros((len(lines), longest), dtype=torch.long)
        positions, segments = torch.zeros_like(ids), torch.full_like(ids, -1)
        for number, line in enumerate(lines):
            ids[number, : len(line.ids)] = torch.tensor(line.ids)
            positions[number, : len(line.ids)] = torch.tensor(line.positions)
            segments[number, : len(line.ids)] = torch.tensor(line.segments)
        batch: dict[str, Any] = {"attention_mask": (segments >= 0).long()}
        if self.share:
            batch["attention_mask"] = _tree_mask(segments.to(self.device))
        if not self.pixels or self.pixels.shares:  # else the model knows best: a picture may take few positions
            batch["position_ids"] = positions
        cells = ids == IMAGE_CELL
        if cells.any():
            batch |= self._pictures(groups, cells)
            ids[cells] = self.image_token
        batch["input_ids"] = ids
        batch["where"] = torch.tensor([(number, last) for number, line in enumerate(lines) for last in line.last])
        tokens = {YES: self.answers.yes, NO: self.answers.no}
        batch["answers"] = torch.tensor([tokens[row.answer] for group in groups for row in group])
        batch["groups"] = torch.tensor(numbers)
        batch["blend"] = torch.tensor([row.blend for group in groups for row in group])
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _pictures(self, groups: Sequence[Group], cells: torch.Tensor) -> dict[str, torch.Tensor]:
        import torch

        if self.pixels is None or self.image_token is None:
            raise ModelError("the training set holds pictures, but the model is a text model.")
        shown = [[row.load_image() for row in group if row.image_sha256] for group in groups]
        return {name: torch.from_numpy(one) for name, one in self.pixels.inputs(shown, cells.numpy()).items()}


class _Line:
    """A group as one sequence: the common part (segment 0), then the rest of each row (segments 1, 2, …)."""

    def __init__(self, group: Group) -> None:
        # Each row keeps a token of its own, so that each has an end.
        most = min(len(row.ids) for row in group) - (len(group) > 1)
        common = next(
            (at for at in range(most) if len({row.ids[at] for row in group}) > 1 or _in_picture(group, at)), most
        )
        self.ids = list(group[0].ids[:common])
        self.positions, self.segments = list(range(common)), [0] * common
        self.last: list[int] = []
        for number, row in enumerate(group, start=1):
            rest = row.ids[common:]
            self.ids += rest
            self.positions += range(common, len(row.ids))
            self.segments += [number] * len(rest)
            self.last.append(len(self.ids) - 1)


def _in_picture(group: Group, at: int) -> bool:
    """Whether two pictures would be taken for one: their cells look alike as ids."""
    return len(group) > 1 and group[0].ids[at] == IMAGE_CELL


def _tree_mask(segments: torch.Tensor) -> torch.Tensor:
    """Which token attends to which, shape [B, 1, T, T]: to those before it, in the common part or its own."""
    import torch

    size, device = segments.shape[1], segments.device
    before = torch.ones(size, size, dtype=torch.bool, device=device).tril()
    own = segments[:, None, :] == segments[:, :, None]
    itself = torch.eye(size, dtype=torch.bool, device=device)
    return ((before & (own | (segments[:, None, :] == 0))) | itself)[:, None]


def answer_logits(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """The logits of the token after each question, shape [R, vocabulary]."""
    import torch

    inputs = {name: value for name, value in batch.items() if name not in ("where", "answers", "groups", "blend")}
    line, position = batch["where"].T
    kept, place = torch.unique(position, return_inverse=True)
    # Only these positions go through the head, which is a fifth of a small model's work.
    logits = model(**inputs, logits_to_keep=kept, use_cache=False).logits
    if logits.shape[1] != len(kept):  # a model that does not know logits_to_keep
        return logits[line, position]
    return logits[line, place]


def ranking_loss(z: torch.Tensor, groups: torch.Tensor, yes: torch.Tensor) -> torch.Tensor:
    """Mean over groups of -log softmax(z) of the positive, among the candidates of the same question point.

    That is ListNet's top-one loss with one relevant item (Cao et al. 2007). `z`, `groups` and `yes` (whether the row
    is the positive) have shape [R].
    """
    import torch

    losses = [
        torch.logsumexp(z[groups == number], 0) - z[(groups == number) & yes].mean()
        for number in groups[yes].unique()
    ]  # fmt: skip
    return torch.stack(losses).mean()


def log_odds(model: Any, rows: Sequence[Row], collator: Collator, batch_size: int = 8) -> Vector:
    """z of each row as the engine computes it (log p(yes) - log p(no) over all spellings), shape [N]."""
    import torch

    numbered = iter(range(len(rows)))
    groups = [([next(numbered) for _ in group], group) for group in grouped(rows)]
    groups.sort(key=lambda group: len(group[1][0].ids))
    each = max(1, batch_size // max(len(group) for _, group in groups))
    z = np.zeros(len(rows))
    yes, no = list(collator.answers.all_yes), list(collator.answers.all_no)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(groups), each):
                some = groups[start : start + each]
                logits = answer_logits(model, collator([group for _, group in some])).double()
                difference = logits[:, yes].logsumexp(-1) - logits[:, no].logsumexp(-1)
                z[[index for indices, _ in some for index in indices]] = difference.cpu().numpy()
    finally:
        model.train(was_training)
    return z
