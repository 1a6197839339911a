"""Manifests and indexes for tars by other tools, which are then trained on in place."""
