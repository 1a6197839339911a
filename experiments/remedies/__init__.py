"""Diagnoses and remedies on GANs with known faults; see docs/experiments.md."""
