"""A program that is asked to stop ends with one line and a status, at whatever moment."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from gantrain.common.errors import (
    INTERRUPTED_STATUS,
    REQUEUE_STATUS,
    USER_ERROR_STATUS,
    os_reason,
)
from gantrain.common.program import report_failure
from gantrain.common.streams import listener_left, losses, tolerant_streams

# Slurm's warning before a time limit; submitit's and Slurm's notice of a preemption.
PREEMPTING = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
# By the user at the terminal: Ctrl-C, and the terminal that goes away.
INTERRUPTING = (signal.SIGINT, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], object]


class Stopped(KeyboardInterrupt):
    """The process received a signal to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def handling(handler: Handler, *numbers: signal.Signals) -> Iterator[None]:
    """Within it, these signals call the handler, except those that were disabled at the start.

    `nohup` disables SIGHUP, a script's `&` SIGINT.
    """
    handled = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in handled}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextmanager
def stops_raise(program: str, *numbers: signal.Signals) -> Iterator[list[int]]:
    """Within it, the first of these signals raises Stopped; the second ends the process at once.

    Yields the list that the signal is added to.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if received:
            end_now(program, number)
        received.append(number)
        raise Stopped(number)

    with handling(stop, *numbers):
        yield received


def end_on_signals(
    program: str, *numbers: signal.Signals, status_of: Callable[[int], int] | None = None
) -> None:
    """From now on, one of these signals ends the process at once, with one line.

    It is for the seconds in which modules are imported: an exception may get lost in there.

    status_of: returns the exit status for a signal; by default 128 more than its number.
    """

    def end(number: int, frame: FrameType | None) -> None:
        end_now(program, number, status_of(number) if status_of else None)

    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def end_now(program: str, number: int, status: int | None = None) -> None:
    """End the process at once, with one line."""
    with suppress(OSError):
        os.write(2, f"{program}: {describe_stop(number)}.\n".encode())
    os._exit(128 + number if status is None else status)


def stop_status(number: int) -> int:
    """Return the exit status of a training run that a signal stopped."""
    return INTERRUPTED_STATUS if number in INTERRUPTING else REQUEUE_STATUS


def describe_stop(number: int) -> str:
    """Return what happened, for a line to the user."""
    name = signal.Signals(number).name
    return "interrupted" if number == signal.SIGINT else f"stopped by {name}"


def run_command(program: str, command: Callable[[], object], *, debug: bool = False) -> int:
    """Run a command of the command line and return the exit status.

    A mistake of the user and a signal are one line on stderr. A stdout that nobody reads any more
    is no reason to stop; one that cannot be written (a full disk) is an error in the end.

    debug: print the traceback of a mistake as well.
    """
    with tolerant_streams():
        status = _run(program, command, debug)
        sys.stdout.flush()
        error = losses().get("stdout")
        if status == 0 and error is not None and not listener_left():
            print(f"{program}: stdout: {os_reason(error)}; the output is lost.", file=sys.stderr)
            status = USER_ERROR_STATUS
    return status


def _run(program: str, command: Callable[[], object], debug: bool) -> int:
    with stops_raise(program, signal.SIGTERM, *INTERRUPTING) as stop:
        try:
            command()
            return 0
        except Exception as error:
            return report_failure(program, error, debug=debug)
        except SystemExit as end:
            # typer makes this of KeyboardInterrupt.
            if not (stop and end.code == INTERRUPTED_STATUS):
                return end.code if isinstance(end.code, int) else 1 if end.code else 0
        except KeyboardInterrupt:
            stop.append(signal.SIGINT)
    print(f"{program}: {describe_stop(stop[0])}.", file=sys.stderr)
    return 128 + stop[0]
