"""Measures of the quality, diversity and novelty of generated images."""
