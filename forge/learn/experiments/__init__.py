"""Experiments, a file a lesson: functions that run Forge itself and say what came out. Only the worker imports them."""
