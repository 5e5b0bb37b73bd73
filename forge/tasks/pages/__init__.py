"""Pages of PDF files and image files, one after the other, from files that nobody has checked.

`forge.tasks.pages.stream.open_pages` is the way in, and `many.open_places` for single pages of many files. The modules
that the child process imports (child, places, source, pdf, images, sizes, wire) do without numpy, so that starting it
stays cheap.
"""
