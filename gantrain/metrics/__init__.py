"""How good, how various and how new a generator's images are."""
