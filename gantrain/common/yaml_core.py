"""Reads and writes YAML by the rules of YAML 1.2's core schema, with PyYAML's parser.

PyYAML itself follows YAML 1.1, where `12:00:00` is 43200, `010` is 8, `yes` is true, `1e-4` is a
string and the last of two equal keys wins.
"""

import re
from typing import Any, ClassVar

import yaml

# Core schema, https://yaml.org/spec/1.2.2/#1032-tag-resolution
_NULL = (r"~|null|Null|NULL|", "~nN\0")
_BOOL = (r"true|True|TRUE|false|False|FALSE", "tTfF")
_INT = (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789")
_FLOAT = (
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+.0123456789",
)
_MERGE = (r"<<", "<")  # not part of YAML 1.2, but harmless and in use

_RULES = {"null": _NULL, "bool": _BOOL, "int": _INT, "float": _FLOAT, "merge": _MERGE}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


class _TextLoader(_Loader):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Quotes each string that YAML 1.1 or 1.2 would read as something else."""


def load_yaml(text: str) -> Any:
    """Return the values in a YAML document.

    Raises ValueError with one sentence, which names the lines, if it is not YAML or if a mapping
    has a key twice.
    """
    return _load(_Loader(text))


def load_yaml_text(text: str) -> Any:
    """Return what load_yaml returns, with every number, boolean and null as the text it stands as.

    For names such as an account 0123, which as a number would lose its zero.
    """
    return _load(_TextLoader(text))


def _load(loader: Any) -> Any:
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _check_keys(root)
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise ValueError(_sentence(error)) from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("nested too deeply, or in itself") from None
    finally:
        loader.dispose()


def dump_yaml(tree: Any) -> str:
    """Return plain values as YAML; load_yaml reads them back unchanged."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def _check_keys(root: yaml.Node) -> None:
    """Raise ValueError if a mapping in this document has a key twice."""
    todo, visited = [root], set()
    while todo:
        node = todo.pop()
        if id(node) in visited:  # an alias
            continue
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                todo += (key, value)
                if not isinstance(key, yaml.ScalarNode):
                    continue
                line = key.start_mark.line + 1
                if (name := (key.tag, key.value)) in lines:
                    raise ValueError(
                        f"key {key.value!r} is there twice, in line {lines[name]} and in line "
                        f"{line}; keep one of them"
                    )
                lines[name] = line


def _sentence(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "a syntax error"
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem


def _construct_int(loader: Any, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text, base)


def _construct_float(loader: Any, node: yaml.ScalarNode) -> float:
    return float(
        loader.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan")
    )


for _name, (_pattern, _first) in _RULES.items():
    _tag, _whole = f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_pattern})\\Z")
    _characters = [c.replace("\0", "") for c in _first]
    _Loader.add_implicit_resolver(_tag, _whole, _characters)
    _Dumper.add_implicit_resolver(_tag, _whole, _characters)
_TextLoader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile("<<\\Z"), ["<"])
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)
