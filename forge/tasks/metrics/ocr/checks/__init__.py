"""Checks of a page: what must be on it, must not, in which order, in which cell. The format is olmOCR-bench's.

A file has a check a line, a JSON object with `pdf`, `page`, `id`, `type` and what the type needs:

    present, absent  text; max_diffs 0, case_sensitive true, first_n, last_n: a window of characters at either end
    order            before, after; max_diffs
    table            cell; up, down, left, right, top_heading, left_heading; max_diffs, ignore_markdown_tables
    math             math; ignore_dollar_delimited
    baseline         max_length (of a blank page), max_length_skips_image_alt_tags, max_repeats 30,
                     check_disallowed_characters true
    format           text, format: heading, bold or italic; max_diffs, case_sensitive true
    footnote         marker; appears_before_marker, appears_after_marker; max_diffs

Keys that are not known are passed over. Texts are compared in one spelling (`normalise`).
"""
