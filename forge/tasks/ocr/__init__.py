"""Reading pages: an image of a page becomes its text."""
