"""Parallel text: from files or the hub to clean, memory-mapped tables of (source, target)."""

from forge.tasks.parallel.read import ParallelData, read_evaluation, read_parallel

__all__ = ["ParallelData", "read_evaluation", "read_parallel"]
