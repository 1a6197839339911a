"""`python -m gantrain`, which is the `gantrain` command."""

from gantrain.common.stopping import INTERRUPTING, end_on_signals


def main() -> None:
    """Run the command line."""
    end_on_signals("gantrain", *INTERRUPTING)
    from gantrain.cli.main import main

    main()


if __name__ == "__main__":
    main()
