"""The `gantrain` command: one module a group of commands."""
