"""Experiments: trainings and measurements whose results are in docs/."""
