"""Sweep files: the runs of a sweep, as a base config and the settings that vary."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from gantrain.common.errors import UserError
from gantrain.common.validation import problems_of
from gantrain.common.yaml_core import load_yaml_text
from gantrain.config import current_key, expand_path, known_keys, read_yaml
from gantrain.config.suggestions import suggest_key
from launch.dotted import Settings, flat_settings, is_inside, matches, repeated_key, split_keys
from launch.spelling import keep_spelling


def _use_current_keys(settings: Any) -> Any:
    """Replace names that keys had in older versions."""
    if not isinstance(settings, dict):
        return settings
    renamed: dict[Any, Any] = {}
    for keys, value in settings.items():
        new = keys
        if isinstance(keys, str):
            new = ", ".join(current_key(key) for key in split_keys(keys))
        if new in renamed:
            raise ValueError(f"{new} is set twice; remove one")
        renamed[new] = value
    return renamed


# Keys of cluster files whose values are names, which may look like numbers.
RESOURCE_NAMES = (
    *("partition", "account", "qos", "constraint", "exclude", "modules", "setup", "sbatch"),
)
Values = Annotated[list[Any], Field(min_length=1)]
_CurrentKeys = BeforeValidator(_use_current_keys)
_Settings = Annotated[Settings, _CurrentKeys]
_Lists = Annotated[dict[str, Values], _CurrentKeys]


class StrictModel(BaseModel):
    """Immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Distribution(StrictModel):
    """The distribution of one setting of a random search: exactly one of these."""

    uniform: tuple[Finite, Finite] | None = None
    log_uniform: tuple[Positive, Positive] | None = None
    integer: tuple[int, int] | None = Field(None, description="both ends included")
    choice: Values | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Distribution":
        if len(self.model_fields_set) != 1:
            raise ValueError("expected exactly one of uniform, log_uniform, integer, choice")
        for name in ("uniform", "log_uniform", "integer"):
            ends = getattr(self, name)
            if ends is not None and ends[0] > ends[1]:
                low, high = ends
                raise ValueError(f"{name}: [{low}, {high}] is reversed; write [{high}, {low}]")
        return self

    def sample(self, rng: random.Random) -> Any:
        """Return one sample; floats have 4 significant digits, so that run names stay short."""
        if self.choice is not None:
            return rng.choice(self.choice)
        if self.integer is not None:
            return rng.randint(*self.integer)
        if self.log_uniform is not None:
            low, high = (math.log(end) for end in self.log_uniform)
            return float(f"{math.exp(rng.uniform(low, high)):.4g}")
        assert self.uniform is not None
        return float(f"{rng.uniform(*self.uniform):.4g}")


class RandomSearch(StrictModel):
    """`count` points with independently sampled settings; the same seed gives the same points."""

    count: int = Field(ge=1)
    seed: int = 0
    draws: Annotated[dict[str, Distribution], _CurrentKeys] = Field(min_length=1)


class EarlyStop(StrictModel):
    """Successive halving (ASHA): at each rung only the best 1/factor of the runs continue."""

    metric: str = Field(description="a key of metrics.jsonl")
    direction: Literal["min", "max"] | None = Field(
        None, description="which values are better; empty: as the metric's name says, else min"
    )
    min_kimg: Annotated[float, Field(gt=0)] = Field(description="kimg at the first rung")
    factor: int = Field(3, ge=2, description="each rung is this many times the one before")


class SweepFile(StrictModel):
    """One sweep: `grid`, `zip`, `random` and `seeds` multiply; `include` adds, `exclude` drops."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    base: Path = Field(description="a training config, relative to the sweep file")
    dir: Path | None = Field(None, description="directory of the sweep; empty: runs/NAME")
    set: _Settings = Field({}, description="settings of all runs, applied to the base config")
    grid: _Lists = Field({}, description="every combination of these lists")
    zip: list[_Lists] = Field([], description="lists of equal length, combined element by element")
    random: RandomSearch | None = None
    seeds: int | list[int] | None = Field(None, description="a number of seeds, or their list")
    include: list[_Settings] = []
    exclude: list[_Settings] = Field([], description="a value, or a list of values, for each key")
    metric: str | None = Field(
        None, description="metric that the leaderboard ranks by; empty: quality/fid"
    )
    direction: Literal["min", "max"] | None = Field(
        None, description="which values are better; empty: as the metric's name says, else min"
    )
    cluster: str = Field("local", description="a file, or a name in configs/clusters/")
    resources: dict[str, Any] = Field({}, description="keys that override the cluster file's")
    pack: int = Field(1, ge=1, description="runs that share one job's GPU or node")
    throttle: int = Field(64, ge=1, description="jobs of the sweep that run at the same time")
    early_stop: EarlyStop | None = None

    @model_validator(mode="before")
    @classmethod
    def _allow_one_zip(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and isinstance(tree.get("zip"), dict):
            return {**tree, "zip": [tree["zip"]]}
        return tree

    @property
    def seed_list(self) -> list[int]:
        """The seeds, empty if they are not an axis of the sweep."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds or [])


def load_sweep(path: Path) -> SweepFile:
    """Read and check a sweep file, to launch it.

    Raises UserError as `read_sweep` does, and if settings are unknown or hide one another.
    """
    sweep = read_sweep(path)
    _check_keys(path, sweep)
    _check_lengths_and_seeds(path, sweep)
    _check_axes(path, sweep)
    _check_exclude(path, sweep)
    return sweep


def read_sweep(path: Path) -> SweepFile:
    """Read a sweep file; `base` becomes relative to the working directory.

    `~` and environment variables in `base`, `dir` and `cluster` are expanded.

    Raises UserError naming the file, the key, what was expected and the nearest known key.
    """
    tree = read_yaml(path, kind="sweep file", expected="keys such as `name:`, `base:` and `grid:`")
    written = load_yaml_text(path.read_text(encoding="utf-8-sig"))
    tree = keep_spelling(tree, written, ("name", "base", "dir", "cluster"))
    if isinstance(tree.get("resources"), dict):
        tree["resources"] = keep_spelling(tree["resources"], written["resources"], RESOURCE_NAMES)
    try:
        sweep = SweepFile.model_validate(tree)
    except ValidationError as error:
        problems = problems_of(error, SweepFile)
        raise UserError(f"{path}: {'; '.join(problems)}.") from None
    base, folder, cluster = (
        expand_path(str(value), f"{path}: {key}") if value else None
        for key, value in (("base", sweep.base), ("dir", sweep.dir), ("cluster", sweep.cluster))
    )
    paths = {"base": path.parent / str(base), "dir": Path(folder) if folder else None}
    return sweep.model_copy(update={**paths, "cluster": cluster})


def expand(sweep: SweepFile) -> Iterator[Settings]:
    """Yield the sweep's points in order; each gives values to dotted keys. Some may be equal."""
    for point in _combinations(sweep):
        if not sweep.exclude:
            yield point
            continue
        flat = flat_settings(point)
        if not any(matches(flat, rule) for rule in sweep.exclude):
            yield point
    for extra, seed in itertools.product(sweep.include, _seeds(sweep)):
        yield {**seed, **extra}


def idle_rules(sweep: SweepFile) -> list[Settings]:
    """Return the rules of `exclude` that drop no point."""
    idle = list(sweep.exclude)
    for point in _combinations(sweep) if idle else ():
        flat = flat_settings(point)
        idle = [rule for rule in idle if not matches(flat, rule)]
    return idle


def _combinations(sweep: SweepFile) -> Iterator[Settings]:
    axes: list[list[Settings]] = []
    for key, values in sweep.grid.items():
        axes.append([{key: value} for value in values])
    for block in sweep.zip:
        rows = zip(*block.values(), strict=True)
        axes.append([dict(zip(block, row, strict=True)) for row in rows])
    if sweep.random is not None:
        rng = random.Random(sweep.random.seed)
        draws = sweep.random.draws
        axes.append(
            [{k: d.sample(rng) for k, d in draws.items()} for _ in range(sweep.random.count)]
        )
    if axes or not sweep.include:
        for combination in itertools.product(*axes, _seeds(sweep)):
            yield {key: value for part in combination for key, value in part.items()}


def _seeds(sweep: SweepFile) -> list[Settings]:
    return [{"seed": seed} for seed in sweep.seed_list] or [{}]


def _check_keys(path: Path, sweep: SweepFile) -> None:
    known = list(known_keys())
    sources: list[tuple[str, Sequence[str]]] = [
        ("set", list(sweep.set)),
        ("grid", list(sweep.grid)),
    ]
    sources += [("zip", list(block)) for block in sweep.zip]
    sources += [("random.draws", list(sweep.random.draws) if sweep.random else [])]
    sources += [("include", list(point)) for point in sweep.include]
    sources += [("exclude", list(rule)) for rule in sweep.exclude]
    for source, entries in sources:
        for key in (key for entry in entries for key in split_keys(entry)):
            if key not in known:
                raise UserError(
                    f"{path}: {source}: the training config has no key {key!r}; {suggest_key(key)}."
                )
            if key.startswith("output.run_dir"):
                raise UserError(f"{path}: {source}: {key} is set by the launcher; use `dir:`.")


def _check_lengths_and_seeds(path: Path, sweep: SweepFile) -> None:
    for block in sweep.zip:
        lengths = {key: len(values) for key, values in block.items()}
        if len(set(lengths.values())) > 1:
            raise UserError(f"{path}: zip: the lists have different lengths: {lengths}.")
    if sweep.seeds is not None and not sweep.seed_list:
        raise UserError(f"{path}: seeds: expected a count of 1 or more, or a list of seeds.")
    if sweep.early_stop and sweep.seeds is not None and len(sweep.seed_list) > 1:
        # Halving would compare a setting with itself, and keep lucky seeds.
        raise UserError(
            f"{path}: early_stop: with several seeds it would select lucky seeds, not settings; "
            "stop early with one seed, then sweep the winners over seeds."
        )


def _check_axes(path: Path, sweep: SweepFile) -> None:
    """Raise UserError where one setting hides another."""
    applied: list[tuple[str, str]] = []
    for source, entry in _axis_entries(sweep):
        for key in split_keys(entry):
            for earlier, other in applied:
                if is_inside(other, key):
                    what = "sets it as well" if other == key else f"sets {other}, which it replaces"
                    raise UserError(f"{path}: {source}: {key}: {earlier} {what}; keep one of them.")
            applied.append((source, key))
    entries: list[tuple[str, Settings]] = [("set", sweep.set)]
    entries += [("include", point) for point in sweep.include]
    entries += [("exclude", rule) for rule in sweep.exclude]
    for source, settings in entries:
        if twice := repeated_key(settings):
            raise UserError(f"{path}: {source}: {twice} is there twice; keep one of them.")


def _check_exclude(path: Path, sweep: SweepFile) -> None:
    """Raise UserError if `exclude` has a key that it cannot find in any point."""
    varied = {key for _, entry in _axis_entries(sweep) for key in split_keys(entry)}
    lists = [*sweep.grid.items(), *(pair for block in sweep.zip for pair in block.items())]
    if sweep.random:
        lists += [(entry, draw.choice or []) for entry, draw in sweep.random.draws.items()]
    for entry, values in lists:
        for section in (value for value in values if isinstance(value, dict)):
            varied |= {f"{key}.{inner}" for key in split_keys(entry) for inner in section}
    for entry in (entry for rule in sweep.exclude for entry in rule):
        for key in split_keys(entry):
            if not any(is_inside(other, key) for other in varied):
                known = f"; they set {', '.join(sorted(varied))}" if varied else ""
                raise UserError(
                    f"{path}: exclude: {key}: no point of grid, zip, random and seeds sets it"
                    f"{known}."
                )


def _axis_entries(sweep: SweepFile) -> list[tuple[str, str]]:
    """Return the entries that vary settings, in the order in which they apply, and their source."""
    entries = [("grid", entry) for entry in sweep.grid]
    entries += [("zip", entry) for block in sweep.zip for entry in block]
    entries += [("random.draws", entry) for entry in (sweep.random.draws if sweep.random else ())]
    return entries + ([("seeds", "seed")] if sweep.seed_list else [])
