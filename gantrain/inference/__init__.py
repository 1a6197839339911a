"""Everything done with a trained generator."""
