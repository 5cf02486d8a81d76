"""Programs that measure fastindex against others, itself and the clock: `python -m benchmarks.speed`."""
