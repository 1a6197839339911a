"""Recipes for the quickstart: which settings give bricks within ten minutes of two cores."""
