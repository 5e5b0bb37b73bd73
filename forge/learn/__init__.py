"""From Zero to Forge: eighteen lessons, each with a live experiment that Forge itself runs.

cards (what there is) · lessons (files → checked lessons) · state (progress on disk) · checks (is an answer right) ·
gates (what is open, and why not) · course (all of it together, for both faces) · worker, experiments/ (what runs) ·
terminal and server (the two faces) · verify (every lesson can be failed, and passed)
"""
