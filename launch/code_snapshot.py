"""A copy of the code at submission, so that later edits do not affect queued runs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import gantrain
import launch
from gantrain.common.code_state import ORIGIN, digest_files, git_state_of_package, package_files
from gantrain.common.files import remove_leftovers, replacing_folder, write_json

_PACKAGES = (gantrain, launch)


def snapshot_code(sweep_dir: Path) -> Path:
    """Copy gantrain and launch into SWEEP_DIR/code/DIGEST, unless this version is there already.

    DIGEST is a hash of the files. origin.json in it names the git commit. Returns the folder.
    """
    files = dict(_files())
    folder = sweep_dir / "code" / digest_files(files.items())
    if folder.is_dir():
        return folder
    remove_leftovers(folder)
    with replacing_folder(folder, durable=False) as staging:
        for name, source in files.items():
            target = staging / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        write_json(staging / ORIGIN, _origin())
    return folder


def _files() -> Iterator[tuple[str, Path]]:
    for package in _PACKAGES:
        yield from package_files(Path(package.__path__[0]))


def _origin() -> dict[str, object]:
    state = git_state_of_package(Path(gantrain.__path__[0]))
    return {"commit": state.commit if state else "", "changed": bool(state and state.changed)}
