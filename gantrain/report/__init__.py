"""Views of runs and sweeps: self-contained HTML pages, the terminal, a W&B workspace."""
