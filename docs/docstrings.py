"""How the API reference reads the source: config keys, and `name: meaning` lines as lists."""

import ast
import re
from typing import Any

from griffe import Attribute, Class, Docstring, ExprCall, ExprKeyword, Extension, Function

_ITEM = re.compile(r"(\w+(?:, \w+)*): (?=\S)")


class PlainDocstrings(Extension):
    """Documents pydantic fields by their description, and arguments as lists."""

    def on_attribute(self, *, attr: Attribute, **_: Any) -> None:
        """Move description and default out of a call of pydantic's Field."""
        call = attr.value
        if not isinstance(call, ExprCall) or call.canonical_name != "Field":
            return
        keywords = {a.name: a.value for a in call.arguments if isinstance(a, ExprKeyword)}
        values = [a for a in call.arguments if not isinstance(a, ExprKeyword)]
        attr.value = values[0] if values else keywords.get("default_factory")
        if attr.docstring is None and isinstance(description := keywords.get("description"), str):
            attr.docstring = Docstring(ast.literal_eval(description), parent=attr)

    def on_function(self, *, func: Function, **_: Any) -> None:
        """Turn lines about a function's parameters into a list."""
        if func.docstring:
            func.docstring.value = listed(func.docstring.value, {p.name for p in func.parameters})

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Turn lines about a class's attributes and parameters into a list."""
        if cls.docstring:
            init = cls.members.get("__init__")
            arguments = {p.name for p in init.parameters} if isinstance(init, Function) else set()
            cls.docstring.value = listed(cls.docstring.value, arguments | set(cls.members))


def listed(text: str, names: set[str]) -> str:
    """Return the text with an item `- **name**: meaning` for each line `name: meaning`.

    names: those that make a line an item; other lines stay as they are.
    """
    lines: list[str] = []
    for line in text.splitlines():
        match = _ITEM.match(line)
        if match and names.issuperset(match[1].split(", ")):
            if lines and not lines[-1].startswith("- "):
                lines.append("")
            line = f"- `{match[1]}`: {line[match.end() :]}"
        lines.append(line)
    return "\n".join(lines)
