"""Compare the silhouettes of gantrain's solids with those of an LDraw library.

`python -m experiments silhouettes --ldraw DIR` prints a table of each part's mean and lowest
intersection over union (IoU) over views from all sides, studs up and down.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gantrain.data.bricks.geometry import shaded_mesh
from gantrain.data.bricks.parts import PARTS, Part
from gantrain.data.bricks.tracing import Scene, load_flat_scene, load_scene
from gantrain.data.ldraw.library import Library
from gantrain.data.ldraw.meshes import part_mesh

VIEWS = 16
SIZE = 160  # pixels

Doubles = NDArray[np.float64]


def view_directions(count: int) -> Doubles:
    """Return (count, 3) unit vectors, evenly spread over the sphere."""
    index = np.arange(count) + 0.5
    z = 1.0 - 2.0 * index / count
    angle = index * np.pi * (3.0 - np.sqrt(5.0))
    around = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.sqrt(1.0 - z**2)[:, None]
    return np.concatenate([around, z[:, None]], axis=1)


def silhouette(scene: Scene, centre: Doubles, half: float, view: Doubles) -> NDArray[np.bool_]:
    """Return which rays (SIZE, SIZE) along `view` hit the part; the image is 2 * `half` wide."""
    right = np.cross((0.0, 0.0, 1.0), view)
    right /= np.linalg.norm(right)
    up = np.cross(view, right)
    steps = ((np.arange(SIZE) + 0.5) * 2.0 / SIZE - 1.0) * half
    plane = centre + steps[None, :, None] * right - steps[:, None, None] * up
    origins = (plane - 4.0 * half * view).reshape(-1, 3).astype(np.float32)
    along = np.broadcast_to(view.astype(np.float32), origins.shape)
    hit = scene.tracer.run(origins, along, query="OCCLUDED") >= 0
    return np.asarray(hit).reshape(SIZE, SIZE)


def overlaps(part: Part, library: Library, count: int = VIEWS) -> Doubles:
    """Return the IoU (count,) of a part's silhouettes from both sources.

    The centres of their bounding boxes are put in the same place; nothing is turned.
    """
    solid = part.build()
    mesh = part_mesh(library, part.number)
    boxes = (shaded_mesh(solid).vertices, mesh.corners.reshape(-1, 3))
    low, high = (
        np.stack([bound(box, axis=0) for box in boxes]).astype(np.float64)
        for bound in (np.min, np.max)
    )
    half = float(np.linalg.norm((high - low).max(axis=0))) / 2.0
    scenes = (load_scene(solid), load_flat_scene(mesh))
    ious = []
    for view in view_directions(count):
        own, theirs = (
            silhouette(scene, centre, half, view)
            for scene, centre in zip(scenes, (low + high) / 2.0, strict=True)
        )
        ious.append((own & theirs).sum() / (own | theirs).sum())
    return np.array(ious)


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments silhouettes")
    parser.add_argument("--ldraw", type=Path, required=True, help="folder of an LDraw library")
    library = Library(parser.parse_args(words).ldraw)
    print(f"| part | name | mean IoU of {VIEWS} views | lowest |\n|---|---|---|---|")
    for part in PARTS:
        ious = overlaps(part, library)
        print(f"| {part.number} | {part.name} | {ious.mean():.3f} | {ious.min():.3f} |", flush=True)
