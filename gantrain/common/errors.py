"""Exceptions that end a run, each with the exit status that launchers act on."""

import os

USER_ERROR_STATUS = 2
DIVERGED_STATUS = 3
BUG_STATUS = 70  # sysexits.h's EX_SOFTWARE
REQUEUE_STATUS = 75  # sysexits.h's EX_TEMPFAIL: start the run again; it resumes from its checkpoint
HUNG_STATUS = 76
INTERRUPTED_STATUS = 130


class UserError(Exception):
    """A mistake that the user can fix.

    The message names the file, key or value, and says what was expected and how to fix it. Entry
    points print it without a traceback and exit with `exit_status`.
    """

    exit_status = USER_ERROR_STATUS


class DivergedError(UserError):
    """Training diverged, and did so again after every roll-back."""

    exit_status = DIVERGED_STATUS


class StoppedError(UserError):
    """The run was asked to stop and has saved a checkpoint; `exit_status` identifies the reason."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class LostRankError(UserError):
    """Another rank died. A new start resumes from the last checkpoint."""

    exit_status = REQUEUE_STATUS


def os_reason(error: OSError) -> str:
    """Return the operating system's message for an error."""
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error))


def describe(error: Exception) -> str:
    """Return what an error says, in one line if it is not a UserError."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {os_reason(error)}" if error.filename else os_reason(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
