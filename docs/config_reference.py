"""Write the reference of config keys into docs/config.md, from the schema.

python docs/config_reference.py            # rewrite it
python docs/config_reference.py --check    # exit status 1 if it is out of date
"""

import sys
from pathlib import Path

from gantrain.config.reference import REQUIRED, SCHEDULE, Key, Table, reference

BEGIN = "<!-- begin: written by docs/config_reference.py -->\n"
END = "<!-- end -->\n"


def main(arguments: list[str]) -> int:
    """Rewrite or check the page; return the exit status."""
    page = Path(__file__).with_name("config.md")
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    new = f"{before}{BEGIN}{''.join(map(_section, reference()))}\n{END}{after}"
    if "--check" not in arguments:
        page.write_text(new, encoding="utf-8")
    elif new != text:
        print(f"{page}: not what the schema says; run `python docs/config_reference.py`")
        return 1
    return 0


def _section(table: Table) -> str:
    heading = f"\n### {table.section or 'Without a section'}\n"
    if table.section == SCHEDULE:
        heading = "\n### Keys of a schedule\n"
    if table.condition:
        heading = f"\nWith `{table.condition}`:\n"
    meaning = f"\n{_cell(table.meaning)}\n" if table.meaning and not table.condition else ""
    rows = "".join(map(_row, table.keys))
    return f"{heading}{meaning}\n| key | default | values | meaning |\n|---|---|---|---|\n{rows}"


def _row(key: Key) -> str:
    default = f"*{REQUIRED}*" if key.default == REQUIRED else f"`{key.default}`"
    return f"| `{key.name}` | {default} | {_cell(key.values)} | {_cell(key.meaning)} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
