"""LEGO parts as exact solids, rendered to images."""
