"""What a model learned: which layers hold it (probes), how alike two models are inside (CKA), where they disagree.

Functions of arrays with results that are plain data; what runs a model is `representations` alone.
"""
