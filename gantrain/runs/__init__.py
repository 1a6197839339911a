"""A run on disk: paths, records, checkpoints, tracking, heartbeat, signals."""
