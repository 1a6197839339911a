"""The tests that a ruler of image quality has to pass: `python -m experiments rulers`."""
