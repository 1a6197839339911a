"""Diagnosis of a training run, advice, and automatic remedies."""
