"""What docs/experiments.md reports: the runs, and the tables and plots made of them."""
