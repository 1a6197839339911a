"""The experiments of docs/experiments.md: their runs, tables and plots."""
