"""Does the loss of a critic tell of quality? Long runs, and what each estimate says of them."""
