"""`python -m launch`: plan, sweep, watch, mend and compare runs on a cluster or on this machine."""

import typer

from launch import report, send_commands, watch_commands

app = typer.Typer(
    help=__doc__,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    send_commands.plan,
    send_commands.sweep,
    send_commands.submit,
    watch_commands.status,
    watch_commands.tail,
    watch_commands.doctor,
    watch_commands.leaderboard,
    report.report,
    send_commands.retry,
    send_commands.cancel,
):
    app.command()(command)

if __name__ == "__main__":
    app(prog_name="python -m launch")
