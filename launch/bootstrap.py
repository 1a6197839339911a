"""Run a module of the copy of the code that holds this file, whatever else is installed.

    python -P CODE/launch/bootstrap.py MODULE [ARGUMENT]…

`python -m MODULE` would look in the working directory first, which may hold the code as it has been
edited since; PYTHONPATH alone cannot name a path that contains a colon.
"""

import os
import runpy
import sys
from pathlib import Path


def command(code: Path, module: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module of the snapshot `code` with this Python."""
    script = str(code / "launch" / "bootstrap.py")
    return [sys.executable, "-u", "-P", script, module, *arguments]


def main() -> None:
    """Put this copy in front of sys.path, of this process and its children, and run the module."""
    code = str(Path(__file__).absolute().parents[1])
    sys.path.insert(0, code)
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if os.pathsep not in code:
        # For the fork server of the decoders, which gets no sys.path from its parent.
        paths = [code, *(path for path in inherited if path not in ("", code))]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
