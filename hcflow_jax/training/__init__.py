"""Training: recipes, objectives, the iteration and its loop."""
