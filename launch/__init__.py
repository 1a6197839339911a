"""Sweeps on a Slurm cluster or on one machine: `python -m launch`."""
