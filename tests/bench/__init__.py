"""The benchmark: limits and product in one run, on the same data, interleaved; ratios, never a single absolute time.

`make bench` prints a table and writes `bench-<date>.json` with machine, versions and commit (performance.md §4).
"""
