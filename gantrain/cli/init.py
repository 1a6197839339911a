"""`gantrain init`: the files that a project of one's own starts from."""

import re
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
import yaml

from gantrain.common.errors import UserError, os_reason
from gantrain.common.files import write_text
from gantrain.common.yaml_core import load_yaml
from gantrain.config import parse_config, read_yaml
from gantrain.data.shards.manifest import load_manifest

TEMPLATES = Path(__file__).parents[1] / "templates"
_CLUSTERS = ("local", "slurm-gpu")
_SCRIPTS = ("train.sbatch", "sweep.sbatch", "launch.sh")
_SWEEP = """\
# Three learning rates of G, each with two seeds.
name: {name}-rates
base: ../{name}.yaml
grid:
  generator.learning_rate: [1.0e-4, 2.0e-4, 4.0e-4]
seeds: 2
metric: quality/fid # by the features that the runs measure with
cluster: local
"""


def init(
    target: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="The project; created if missing.")
    ] = Path(),
    config: Annotated[
        str, typer.Option(help="Shipped config to start from, such as quickstart or dcgan.")
    ] = "quickstart",
    shards: Annotated[
        Path | None, typer.Option(help="Set of shards to train on; the config gets its size.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there already.")
    ] = False,
) -> None:
    """Write a config, a sweep, cluster files and Slurm scripts into a folder.

    Examples:

    gantrain init my-gan --config dcgan

    gantrain data import ~/photos data/photos && gantrain init --shards data/photos
    """
    if shards is not None and target != Path():
        shards = shards.absolute()  # paths in a config lead from the project's folder
    files = project_files(config, shards)
    existing = [
        str(target / name)
        for name, text in files.items()
        if (target / name).exists() and not _has(target / name, text)
    ]
    if existing and not overwrite:
        raise UserError(
            f"{existing[0]}: there already, with other content"
            + (f" (and {len(existing) - 1} more)" if existing[1:] else "")
            + "; choose another folder, or replace it with --overwrite."
        )
    for name, text in files.items():
        write_text(target / name, text)
        if name.endswith(".sbatch"):
            (target / name).chmod((target / name).stat().st_mode | 0o111)
        typer.echo(f"wrote {target / name}")
    _print_next_commands(target, config, files[f"configs/{config}.yaml"], imports=shards is None)


def project_files(config: str, shards: Path | None) -> dict[str, str]:
    """Return the text of each file of a new project by its path in there.

    config: name of a shipped config. shards: set of shards that the config shall train on.

    Raises UserError if there is no such config, or no network for the images.
    """
    configs = TEMPLATES / "configs"
    known = sorted(path.stem for path in configs.glob("*.yaml"))
    if config not in known:
        raise UserError(f"--config {config}: no such config; expected one of {', '.join(known)}.")
    text = _read(configs / f"{config}.yaml")
    if shards is not None:
        manifest = load_manifest(shards)
        values = {"shards": str(shards), "size": manifest.size, "channels": manifest.channels}
        text = _with_values(text, "data", values)
        if not manifest.classes:
            text = _with_values(text, "conditioning", {"kind": "none"})
        origin = f"# Started from gantrain's {config}.yaml, of whose images these comments speak:"
        text = f"{origin}\n{text}"
    parse_config(load_yaml(text), f"configs/{config}.yaml")
    return {
        f"configs/{config}.yaml": text,
        f"configs/sweeps/{config}.yaml": _sweep_of(config, configs / "sweeps"),
        **{f"configs/clusters/{n}.yaml": _read(configs / f"clusters/{n}.yaml") for n in _CLUSTERS},
        **{f"slurm/{name}": _read(TEMPLATES / "slurm" / name) for name in _SCRIPTS},
    }


def _with_values(text: str, section: str, values: Mapping[str, object]) -> str:
    """Return the text of a config with other values of keys that its section has.

    A comment beside a value that changes is left out: it gives the reason for the old one.
    """
    found = re.search(rf"(?m)^{section}:\n(?:  .*\n)*", text)
    if found is None:
        return text
    lines = found[0]
    for key, value in values.items():
        written = yaml.safe_dump(value).split("\n")[0]
        line = re.compile(rf"(?m)^(?P<key>  {key}: )(?P<value>[^#\n]*?)(?P<comment> *#.*)?$")
        lines = line.sub(partial(_replace_value, written), lines, count=1)
    return text[: found.start()] + lines + text[found.end() :]


def _replace_value(written: str, line: re.Match[str]) -> str:
    if load_yaml(line["value"]) == load_yaml(written):
        return line[0]
    return f"{line['key']}{written}"


def _sweep_of(config: str, sweeps: Path) -> str:
    """Return the first shipped sweep over a config, or a small one where there is none."""
    for path in sorted(sweeps.glob("*.yaml")):
        if read_yaml(path).get("base") == f"../{config}.yaml":
            return _read(path)
    return _SWEEP.format(name=config)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _has(path: Path, text: str) -> bool:
    try:
        return path.is_file() and path.read_bytes() == text.encode()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({os_reason(error)}).") from None


def _print_next_commands(folder: Path, config: str, text: str, *, imports: bool) -> None:
    lines = [] if folder == Path() else [f"cd {shlex.quote(str(folder))}"]
    if imports:
        wanted = load_yaml(text)["data"]
        lines.append(
            f"gantrain data import YOUR-IMAGES {wanted['shards']} --size {wanted['size']}"
            "   # or gantrain data render"
        )
    lines += [
        f"gantrain train configs/{config}.yaml",
        f"gantrain launch sweep configs/sweeps/{config}.yaml",
        f"sbatch slurm/train.sbatch --config configs/{config}.yaml   # on a Slurm cluster",
    ]
    typer.echo("\nNext:\n" + "\n".join(f"  {line}" for line in lines))
