"""What ends a run other than its success, each with the exit status that launchers read."""


class UserError(Exception):
    """A mistake that the user can mend.

    The message names the file, key or value, says what was expected, and how to mend it.
    Entry points print it without a traceback and exit with status 2.
    """

    exit_status = 2


class DivergedError(UserError):
    """The training diverged, again after every roll-back."""

    exit_status = 3


class StoppedError(UserError):
    """The run was asked to stop and has saved itself; `exit_status` says who asked."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class LostRankError(UserError):
    """Another rank is gone. A new start goes on from the last checkpoint."""

    exit_status = 75


# sysexits.h's EX_TEMPFAIL: start the same run again, it will go on from its checkpoint.
REQUEUE_STATUS = 75
HUNG_STATUS = 76
INTERRUPTED_STATUS = 130
