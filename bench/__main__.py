"""All benchmarks, one after the other."""

from bench import startup, step

step.main()
startup.main()
