"""The alarms of the fifth draw beside what the images of the runs show."""

from collections.abc import Mapping, Sequence

from experiments.hunt.images import Look, confirms, is_always_well, looks_near
from experiments.hunt.verdicts import ALLOWED, Verdict, share
from experiments.tables import markdown_table

Looks = Mapping[str, Sequence[Look]]  # of each run, by its name


def alarm_table(verdicts: Sequence[Verdict], looks: Looks) -> str:
    """Format the runs that raised an alarm, with what their images showed then."""
    rows = []
    for verdict in verdicts:
        if not verdict.first:
            continue
        near = looks_near(looks[verdict.run.name], _alarm_at(verdict))
        rows.append(
            [
                verdict.run.name,
                verdict.first,
                f"{verdict.delay:.0%}",
                f"{min(look.diversity for look in near):.2f}",
                "no" if _is_confirmed(verdict, looks) else "yes",
            ]
        )
    header = ["run", "first alarm", "at (part of the run)", "diversity then", "false"]
    return markdown_table(header, rows or [["none", "", "", "", ""]])


def shares(verdicts: Sequence[Verdict], looks: Looks) -> str:
    """Return the share of false alarms, and of alarms in runs whose images are always well."""
    false = [each for each in verdicts if each.first and not _is_confirmed(each, looks)]
    alarmed = sum(bool(verdict.first) for verdict in verdicts)
    well = [each for each in verdicts if is_always_well(looks[each.run.name])]
    of_well = sum(bool(verdict.first) for verdict in well)
    return (
        f"{share(len(false), len(verdicts), 'runs without a fault')} raise an alarm that their "
        f"images do not confirm (wanted: at most {ALLOWED:.0%}); {alarmed} raise one at all. "
        f"{share(of_well, len(well), 'runs whose images are well throughout')} raise one."
    )


def _is_confirmed(verdict: Verdict, looks: Looks) -> bool:
    return confirms(looks[verdict.run.name], verdict.first, _alarm_at(verdict))


def _alarm_at(verdict: Verdict) -> int:
    return round(verdict.delay * verdict.run.total_kimg * 1000)
