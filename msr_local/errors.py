"""Every error that msr-local raises on purpose.

Each message says what is wrong, where, and what to do next. `exit_code` is what the command line returns.
"""

from __future__ import annotations


class MsrError(Exception):
    """Base class: the work failed for a reason that the user can act on."""

    exit_code = 1


class InputError(MsrError):
    """A file, row or value that cannot be used."""


class NoSuchColumn(InputError):
    """An option names a column of a file that has no names of columns."""

    exit_code = 2


class NotFoundError(MsrError):
    """A user, item or model that is not in the workspace."""


class FileError(MsrError):
    """A file that cannot be written."""


class WorkspaceError(MsrError):
    """The SQLite file cannot be opened, or was written by a newer release."""


class PromptError(MsrError):
    """A prompt template is missing or broken."""


class ModelError(MsrError):
    """A model file that is missing, broken or unfit for the job."""


class AnswerTokensError(ModelError):
    """The tokenizer has no single token for "yes" or for "no", so p(yes) cannot be read."""


class ContextOverflow(ModelError):
    """A prompt is longer than the model's context."""


class PictureError(ModelError):
    """A picture that the model cannot read, though others it can."""


class EngineCrashed(MsrError):
    """The native library ended its process (abort, segmentation fault, out of memory)."""
