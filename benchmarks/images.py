"""The images of the training benchmark: one set, as shards and as PNG files."""

import subprocess
import sys
import tarfile
from pathlib import Path

_VIEWS = 20  # of each of the fifty parts, from two cameras


def generate_images(scratch: Path, size: int) -> tuple[Path, Path]:
    """Return a folder of shards and one of PNG files, both with 2,000 grayscale brick images.

    Folders that exist are reused.
    """
    shards, files = scratch / f"shards{size}", scratch / f"files{size}"
    if not (shards / "manifest.json").exists():
        options = ["--size", str(size), "--views", str(_VIEWS), "--overwrite"]
        gantrain = [sys.executable, "-m", "gantrain.cli.main"]
        subprocess.run([*gantrain, "data", "render", str(shards), *options], check=True)
    unpack(shards, files)
    return shards, files


def unpack(shards: Path, files: Path) -> None:
    """Write each image of the shards to a file, unless the folder exists."""
    if files.exists():
        return
    partial = files.with_name(files.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    for shard in sorted(shards.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content is not None and member.name.endswith(".png"):
                    name = member.name.replace("/", "-")
                    (partial / name).write_bytes(content.read())
    partial.rename(files)
