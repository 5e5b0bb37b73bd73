"""The statistics of a study: pure functions of arrays, with S for seeds, C for cells, E for effects."""
