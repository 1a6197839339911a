"""A hunt for illnesses that the diagnosis misses, and for false alarms."""
