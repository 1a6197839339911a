"""Paths that are wrong in some way. Root ignores permissions, so none depends on them."""

import gzip
import io
import os
import shutil
import socket
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np


def escape_output() -> None:
    """Let the captured streams escape characters, as common/streams.py does for the process's."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def bad_inputs(run: Path, shards: Path, folder: Path) -> dict[str, Path]:
    """Make one path of each kind that is no good input, in a new folder.

    run, shards: a run and a set, of which some are broken copies. Changes the working directory.
    """
    generator = (run / "generator.safetensors").read_bytes()
    png = next(run.glob("samples/real.png")).read_bytes()
    contents = {
        "empty file": b"",
        "garbage": bytes(range(256)) * 9,
        "truncated": generator[: len(generator) // 2],
        "truncated header": generator[:50],
        "json": b'{"a": [1]}',
        "deep json": b"[" * 100_000,
        "yaml": b"a: 1\n",
        "image": png[: len(png) // 2],
        "tar": next(shards.glob("*.tar")).read_bytes(),
    }
    found = {kind: folder / kind.replace(" ", "-") for kind in contents}
    for kind, content in contents.items():
        found[kind].write_bytes(content)
    (folder / "empty").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    broken_set, broken_run = folder / "broken-set", folder / "broken-run"
    broken_set.mkdir()
    (broken_set / "manifest.json").write_bytes(b"{}")
    for checkpoint in (run / "checkpoints").glob("images-*"):
        shutil.copytree(checkpoint, broken_run / "checkpoints" / checkpoint.name)
        (broken_run / "checkpoints" / checkpoint.name / "ema.safetensors").write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(folder)  # the path of a socket must be short
        server.bind("socket")
    return found | {
        "missing": folder / "missing",
        "below a file": folder / "json" / "x",
        "empty folder": folder / "empty",
        "link to itself": folder / "loop",
        "link to nothing": folder / "dangling",
        "too long": folder / ("x" * 300),
        "unreadable": Path("/proc/self/mem"),
        "device": Path("/dev/null"),
        "socket": folder / "socket",
        "not UTF-8": folder / os.fsdecode(b"latin-1-\xff"),
        "broken set": broken_set,
        "broken run": broken_run,
    }


def bad_sources(folder: Path) -> dict[str, Path]:
    """Make one source of each kind from which no image can be imported, in a new folder."""
    pixels = np.zeros((2, 8, 8), np.uint8)
    npz, zipped, inner = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez_compressed(npz, x=pixels, y=np.zeros(2, int))
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.txt", "")
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
    texts = io.BytesIO()
    with tarfile.open(fileobj=texts, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a.txt"))
    idx = b"\0\0\x08\x03" + struct.pack(">3I", *pixels.shape) + pixels.tobytes()
    files = {
        "cut/train-images-idx3-ubyte.gz": gzip.compress(idx)[:-12],
        "long/train-images-idx3-ubyte": idx + b"x",
        "pickle/data_batch_1": b"\x80\x04N.",
        "cifar/data_batch_1.bin": bytes(3072),
        "cut.npz": npz.getvalue()[:-30],
        "cut.npy": b"\x93NUMPY\1\0v\0{'descr': '|u1'",
        "cut.zip": zipped.getvalue()[:-5],
        "without-images.zip": zipped.getvalue(),
        "cut.parquet": b"PAR1" + bytes(50) + b"PAR1",
        "without-images.tar": texts.getvalue(),
        "web-page.tar": b"<html>not found</html>",
        "cut.tar": texts.getvalue()[:300],
        "cut.tar.gz": gzip.compress(texts.getvalue())[:20],
        "compressed-otherwise.tar": b"\x28\xb5\x2f\xfd" + bytes(600),
        "several/a.npy": b"",
        "several/b.zip": b"",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    np.save(folder / "floats.npy", pixels / 255)
    np.save(folder / "objects.npy", np.array([None]), allow_pickle=True)
    return {str(path.relative_to(folder)): path for path in sorted(folder.iterdir())}


def bad_outputs(folder: Path) -> dict[str, Path]:
    """Make one path of each kind at which nothing can be written, in a new folder."""
    (folder / "file").write_bytes(b"kept")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("/proc/none")
    for suffix in ("", ".png", ".webp", ".onnx"):
        (folder / f"folder{suffix}" / "kept").mkdir(parents=True)
        os.mkfifo(folder / f"pipe{suffix}")
    return {
        "below a file": folder / "file" / "x",
        "deep below a file": folder / "file" / "x" / "y",
        "a folder with files": folder / "folder",
        "a pipe": folder / "pipe",
        "below a link to itself": folder / "loop" / "x",
        "below a link to nothing": folder / "dangling" / "x",
        "too long": folder / ("x" * 300),
        "unwritable": Path("/proc/x"),
    }
