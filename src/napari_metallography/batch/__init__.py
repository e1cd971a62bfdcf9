"""Recipes, and their runs over folders and stacks: resumable, and on several machines."""
