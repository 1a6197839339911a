"""How many images per second of CPU time one process renders, from each source of parts.

`python -m benchmarks.renders --ldraw DIR` alternates between gantrain's solids and the same parts
of an LDraw library, without and with edge lines, at 64x64.
"""

import argparse
import time
from pathlib import Path

from benchmarks.errors import run
from gantrain.data.bricks.choosing import choose_parts, load_part
from gantrain.data.bricks.render import render_samples


def images_per_cpu_second(views: int, library: Path | None, edges: bool) -> float:
    start = time.process_time()
    samples = render_samples(views=views, library=library, edges=edges, workers=1)
    count = sum(1 for _ in samples)
    return count / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.renders")
    parser.add_argument("--ldraw", type=Path, required=True, help="folder of an LDraw library")
    parser.add_argument("--views", type=int, default=8, help="of each of the 50 parts")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    sources = (
        ("solids", None, False),
        ("LDraw", options.ldraw, False),
        ("LDraw with edges", options.ldraw, True),
    )
    for _, library, _ in sources:  # the geometry is built once in a process
        for part in choose_parts(None, "own", library):
            load_part(part.number, library)
    for _ in range(options.repeats):
        for name, library, edges in sources:
            print(f"{name}: {images_per_cpu_second(options.views, library, edges):.0f} images/s")


if __name__ == "__main__":
    run("renders", main)
