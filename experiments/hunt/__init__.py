"""A hunt for illnesses that the diagnosis misses, and for alarms that healthy runs raise."""
