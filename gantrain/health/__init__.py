"""Diagnosis of training problems, advice, and automatic remedies. Does not import torch."""
