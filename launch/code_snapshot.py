"""A copy of the code at submission, so that later edits do not affect queued runs."""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import gantrain
import launch
from gantrain.common.files import remove_leftovers, replacing_folder, write_json

_PACKAGES = (gantrain, launch)
_NO_CODE = {"__pycache__", "templates"}
_SUFFIXES = {".py", ".yaml", ".json"}


def snapshot_code(sweep_dir: Path) -> Path:
    """Copy gantrain and launch into SWEEP_DIR/code/DIGEST, unless this version is there already.

    DIGEST is a hash of the files. origin.json in it names the git commit. Returns the folder.
    """
    files = dict(_files())
    digest = hashlib.sha256()
    for name, source in files.items():
        digest.update(f"{name}\0".encode() + source.read_bytes())
    folder = sweep_dir / "code" / digest.hexdigest()[:12]
    if folder.is_dir():
        return folder
    remove_leftovers(folder)
    with replacing_folder(folder, durable=False) as staging:
        for name, source in files.items():
            target = staging / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        write_json(staging / "origin.json", _origin())
    return folder


def _files() -> Iterator[tuple[str, Path]]:
    for package in _PACKAGES:
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*")):
            if path.suffix in _SUFFIXES and not _NO_CODE & set(path.parts):
                yield f"{root.name}/{path.relative_to(root)}", path


def _origin() -> dict[str, object]:
    root = Path(gantrain.__path__[0]).parent
    commit = _git(root, "rev-parse", "HEAD")
    return {"commit": commit, "changed": bool(_git(root, "status", "--porcelain", "-uno"))}


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
