"""The networks, dropout, the EMA of the generator, augmentation."""
