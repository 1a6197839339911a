"""Every key of a config file with its values, default and meaning, read from the schema."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

from gantrain.common.errors import UserError
from gantrain.common.expectations import Node, describe, known_keys, one_of, quoted, schema_of
from gantrain.config.schedules import Schedule
from gantrain.config.schema import Config
from gantrain.config.section import Section
from gantrain.config.suggestions import explain_unknown

REQUIRED = "required"  # in place of a default
SCHEDULE = "schedule"  # the name of the table of a schedule's keys


@dataclass(frozen=True)
class Key:
    """A key of a config file.

    name: dotted; in the table of schedules without what comes before. values: its type and range,
    or its choices, in words. default: as YAML has it, or `required`. meaning: a phrase, with units.
    """

    name: str
    values: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Table:
    """Keys that exist together.

    section: its name; empty for keys outside of sections. condition: the setting with which they
    exist, such as `objective.kind: rpgan`; empty: always. meaning: what the section is for.
    """

    section: str
    condition: str
    meaning: str
    keys: tuple[Key, ...]


def reference() -> list[Table]:
    """Return the tables of all sections, in their order, and last that of a schedule's keys."""
    top = _keys_of(Config, "")
    tables = [Table("", "", "", tuple(k for k in top if k.name not in sections()))]
    for name in sections():
        tables += _tables_of_section(name)
    return [*tables, Table(SCHEDULE, "", _summary(Schedule), _keys_of(Schedule[float], ""))]


def select(wanted: str) -> list[Table]:
    """Return the tables of a section, or one with the key of this dotted name.

    Of a key that takes a schedule, and of the keys of a schedule, also the schedule's table.

    Raises UserError, with the nearest name, if there is no such section or key.
    """
    tables = reference()
    if found := [table for table in tables if table.section == wanted]:
        return found
    if wanted not in known_keys(Config):
        known = "" if "." in wanted else f"; the sections are {', '.join(sections())}"
        raise UserError(f"{explain_unknown(wanted)}{known}.")
    return list(_tables_of_key(wanted, tables))


def sections() -> list[str]:
    """Return the names of the sections of a config, in their order."""
    return [name for name, field in Config.model_fields.items() if _members(field.annotation)]


def _tables_of_key(wanted: str, tables: list[Table]) -> Iterator[Table]:
    scheduled = False
    for table in tables:
        keys = tuple(k for k in table.keys if f"{wanted}.".startswith(f"{k.name}."))
        scheduled |= any(SCHEDULE in key.values for key in keys)
        if keys:
            yield replace(table, keys=keys)
        elif scheduled and table.section == SCHEDULE:
            yield table


def _tables_of_section(name: str) -> list[Table]:
    field = Config.model_fields[name]
    members = _members(field.annotation)
    if not isinstance(tag := field.discriminator, str):
        return [Table(name, "", _summary(members[0]), _keys_of(members[0], name))]
    variants = {get_args(m.model_fields[tag].annotation)[0]: m for m in members}
    keys = {choice: _keys_of(member, name) for choice, member in variants.items()}
    first, *others = keys.values()
    shared = tuple(k for k in first if all(k in each for each in others))
    chooser = next(k for k in first if k.name == f"{name}.{tag}")
    chooser = Key(chooser.name, one_of(variants), chooser.default, chooser.meaning)
    own = {
        choice: tuple(k for k in each if k not in shared and k.name != chooser.name)
        for choice, each in keys.items()
    }
    return [
        Table(name, "", "", (chooser, *shared)),
        *(
            Table(name, f"{chooser.name}: {choice}", _summary(variants[choice]), each)
            for choice, each in own.items()
        ),
    ]


def _members(annotation: Any) -> list[type[Section]]:
    """Return the classes that a section may have; empty for a plain value."""
    options = get_args(annotation) or (annotation,)
    return [each for each in options if isinstance(each, type) and issubclass(each, Section)]


def _keys_of(section: type[Section], prefix: str) -> tuple[Key, ...]:
    root = schema_of(section)
    required = root.get("required", ())
    properties: dict[str, Node] = root["properties"]
    return tuple(
        Key(
            f"{prefix}.{name}" if prefix else name,
            describe(node, root),
            REQUIRED if name in required else _as_yaml(node.get("default")),
            node.get("description", ""),
        )
        for name, node in properties.items()
    )


def _as_yaml(value: object) -> str:
    return value if isinstance(value, str) else quoted(value)


def _summary(section: type[Section]) -> str:
    """Return the first paragraph of the docstring, in one line."""
    return " ".join((section.__doc__ or "").split("\n\n")[0].split())
