"""A factorial study: which parts of a recipe help, by how much, and whether they help together."""
