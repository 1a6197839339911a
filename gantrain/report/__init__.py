"""Pages that show a run or a sweep; each is one file that needs nothing beside it."""
