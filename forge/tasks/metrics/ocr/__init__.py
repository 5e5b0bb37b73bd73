"""How well a page was read: texts of a model against texts that are right, or against checks of what must be there.

`text` counts edits, `tables` and `teds` compare tables, `headings` the outline, `order` the order of blocks, `loops`
finds texts that never end, `checks` runs single checks in the format of olmOCR-bench, and `score` puts figures
together. All of it is pure, gives the same for the same texts on every machine, takes any text a model may write, and
is bounded in time.
"""
