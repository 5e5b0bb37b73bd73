"""Pages that open offline, for every part that reports: pieces of HTML, pictures as SVG, figures in words."""
