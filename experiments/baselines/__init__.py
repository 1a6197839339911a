"""The baselines of docs/baselines.md: GANs on data that others made, measured as others measure."""
