"""All benchmarks that need no more than the project's own environment, one after the other (not so bench.kd_peers)."""

from bench import kd_cache, kd_hooks, kd_step, startup, step

step.main()
startup.main()
kd_step.main()
kd_cache.main()
kd_hooks.main()
