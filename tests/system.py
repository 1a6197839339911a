"""Programs of the operating system that some tests need: a Slurm, a browser."""

import os

import pytest


def require(program: str, problem: str | None) -> None:
    """Skip the test unless a program is usable; fail it instead where CI is set.

    program: for display, such as "a real Slurm". problem: why it is not usable; None if it is.
    With GANTRAIN_SYSTEM=no (`make test SYSTEM=no`) the test is skipped in either case.
    """
    if os.environ.get("GANTRAIN_SYSTEM") == "no":
        pytest.skip(f"needs {program}, which GANTRAIN_SYSTEM=no excludes")
    if problem is None:
        return
    reason = f"needs {program}: {problem}; `make system` installs it on Debian"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
