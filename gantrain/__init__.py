"""Train GANs on a cluster, and tell the truth about them."""
