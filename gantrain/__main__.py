"""`python -m gantrain`, which is the `gantrain` command."""

from gantrain.cli.main import main

if __name__ == "__main__":
    main()
