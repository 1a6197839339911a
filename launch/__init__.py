"""Sweeps over a Slurm cluster, or over this machine: `python -m launch`."""
