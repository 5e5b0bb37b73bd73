"""One YAML file, its parents and the command line, turned into checked settings that know where they came from.

strict_yaml → interpolate → inherit → merge ← overrides     a tree of values, each with its place
schema → fields → suggest, problems                         what may be said, and what to say if it was not
resolve → explain, json_schema                              the result, and how it is shown
"""

from forge.config.origins import Origin
from forge.config.resolve import ResolvedConfig, resolve

__all__ = ["Origin", "ResolvedConfig", "resolve"]
