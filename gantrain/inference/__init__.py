"""Trained generators: export, sampling and exploration of the latent space."""
