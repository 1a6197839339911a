"""Sweep files: which runs a sweep has, as a base config and the settings that vary."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gantrain.common.errors import UserError
from gantrain.config import known_keys
from launch.wording import nearest, problems_of

Point = dict[str, Any]
Values = Annotated[list[Any], Field(min_length=1)]


class Strict(BaseModel):
    """Read-only, and no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Draw(Strict):
    """How one setting of a random search is drawn: exactly one of these."""

    uniform: tuple[float, float] | None = None
    log_uniform: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None = None
    integer: tuple[int, int] | None = Field(None, description="both ends belong to it")
    choice: Values | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Draw":
        if len(self.model_fields_set) != 1:
            raise ValueError("expected exactly one of uniform, log_uniform, integer, choice")
        return self

    def value(self, source: random.Random) -> Any:
        """One draw; real numbers have 4 significant digits, so that names stay readable."""
        if self.choice is not None:
            return source.choice(self.choice)
        if self.integer is not None:
            return source.randint(*self.integer)
        if self.log_uniform is not None:
            low, high = (math.log(end) for end in self.log_uniform)
            return float(f"{math.exp(source.uniform(low, high)):.4g}")
        assert self.uniform is not None
        return float(f"{source.uniform(*self.uniform):.4g}")


class RandomSearch(Strict):
    """`count` points, each setting drawn on its own; the same seed gives the same points."""

    count: int = Field(ge=1)
    seed: int = 0
    draws: dict[str, Draw] = Field(min_length=1)


class EarlyStop(Strict):
    """Successive halving (ASHA): at each rung only the best 1/factor so far go on."""

    metric: str = Field(description="a key of metrics.jsonl")
    direction: Literal["min", "max"] = "min"
    min_kimg: Annotated[float, Field(gt=0)] = Field(description="images seen at the first rung")
    factor: int = Field(3, ge=2, description="each rung is this many times the one before")


class SweepFile(Strict):
    """One sweep: `grid`, `zip`, `random` and `seeds` multiply; `include` adds, `exclude` drops."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    base: Path = Field(description="a training config, relative to the sweep file")
    dir: Path | None = Field(None, description="where the sweep's runs go; empty: runs/NAME")
    set: Point = Field({}, description="settings of all runs, over the base config")
    grid: dict[str, Values] = Field({}, description="every combination")
    zip: list[dict[str, Values]] = Field([], description="lists of one length, side by side")
    random: RandomSearch | None = None
    seeds: int | list[int] | None = Field(None, description="a count, or the seeds themselves")
    include: list[Point] = []
    exclude: list[Point] = Field([], description="a value, or a list of values, for each key")
    metric: str | None = Field(None, description="what the leader board ranks by")
    direction: Literal["min", "max"] = "min"
    cluster: str = Field("local", description="a file, or a name in configs/clusters/")
    resources: dict[str, Any] = Field({}, description="keys of the cluster file, over it")
    pack: int = Field(1, ge=1, description="runs that share one job's GPU or node")
    throttle: int = Field(64, ge=1, description="jobs of the sweep that run at a time")
    early_stop: EarlyStop | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_zip(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and isinstance(tree.get("zip"), dict):
            return {**tree, "zip": [tree["zip"]]}
        return tree

    @property
    def seed_list(self) -> list[int]:
        """The seeds, if they are an axis of the sweep."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds or [])


def load_sweep(path: Path) -> SweepFile:
    """Read and validate a sweep file; paths in it are made relative to the working directory.

    Raises UserError naming the file, the key, what was expected and the nearest known key.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: the sweep file cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected keys such as `name:`, `base:` and `grid:`.")
    try:
        sweep = SweepFile.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{path}: {problems_of(error, SweepFile)}") from None
    _check_keys(path, sweep)
    _check_lengths(path, sweep)
    return sweep.model_copy(update={"base": path.parent / sweep.base})


def expand(sweep: SweepFile) -> Iterator[Point]:
    """The sweep's points in order; each gives values to dotted keys. Some may be equal."""
    axes: list[list[Point]] = []
    for key, values in sweep.grid.items():
        axes.append([{key: value} for value in values])
    for block in sweep.zip:
        rows = zip(*block.values(), strict=True)
        axes.append([dict(zip(block, row, strict=True)) for row in rows])
    if sweep.random is not None:
        source = random.Random(sweep.random.seed)
        draws = sweep.random.draws
        axes.append(
            [{k: d.value(source) for k, d in draws.items()} for _ in range(sweep.random.count)]
        )
    seeds: list[Point] = [{"seed": seed} for seed in sweep.seed_list] or [{}]
    if axes or not sweep.include:
        for combination in itertools.product(*axes, seeds):
            point = {key: value for part in combination for key, value in part.items()}
            if not any(_matches(point, rule) for rule in sweep.exclude):
                yield point
    for extra, seed in itertools.product(sweep.include, seeds):
        yield {**seed, **extra}


def apply(tree: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a config tree with the point's values in it; `a.x,b.x: 1` sets both."""
    changed: dict[str, Any] = _copy(tree)
    for keys, value in point.items():
        for key in split_keys(keys):
            *sections, last = key.split(".")
            place = changed
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = _copy(value)
    return changed


def split_keys(keys: str) -> list[str]:
    """The dotted keys that one entry of a sweep file sets together."""
    return [key.strip() for key in keys.split(",")]


def _copy(value: Any) -> Any:
    if isinstance(value, dict):  # Mapping is slow to ask for, and plans have 10,000 runs
        return {key: _copy(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, list) else value


def _matches(point: Point, rule: Point) -> bool:
    for key, wanted in rule.items():
        if key not in point:
            return False
        if point[key] != wanted and not (isinstance(wanted, list) and point[key] in wanted):
            return False
    return True


def _check_keys(path: Path, sweep: SweepFile) -> None:
    known = list(known_keys())
    places: list[tuple[str, Sequence[str]]] = [("set", list(sweep.set)), ("grid", list(sweep.grid))]
    places += [("zip", list(block)) for block in sweep.zip]
    places += [("random.draws", list(sweep.random.draws) if sweep.random else [])]
    places += [("include", list(p)) for p in sweep.include]
    places += [("exclude", list(p)) for p in sweep.exclude]
    for place, entries in places:
        for key in (key for entry in entries for key in split_keys(entry)):
            if key not in known:
                raise UserError(
                    f"{path}: {place}: the training config has no key {key!r}; "
                    f"the nearest is {nearest(key, known)!r}."
                )
            if key.startswith("output.run_dir"):
                raise UserError(f"{path}: {place}: {key} is the launcher's to set; use `dir:`.")


def _check_lengths(path: Path, sweep: SweepFile) -> None:
    for block in sweep.zip:
        lengths = {key: len(values) for key, values in block.items()}
        if len(set(lengths.values())) > 1:
            raise UserError(f"{path}: zip: the lists have different lengths: {lengths}.")
    if sweep.seeds is not None and not sweep.seed_list:
        raise UserError(f"{path}: seeds: expected a count of 1 or more, or a list of seeds.")
    if sweep.early_stop and sweep.seeds is not None and len(sweep.seed_list) > 1:
        # Halving would compare a setting with itself, and keep lucky seeds.
        raise UserError(
            f"{path}: early_stop: with several seeds it would choose lucky seeds, not settings; "
            "stop early with one seed, then sweep the winners over seeds."
        )
