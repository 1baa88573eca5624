"""Metrics: pure functions of arrays. Every metric has a protocol, an interval and a direction.

`intervals` holds `Score`; `pixels`, `classification`, `distances` and `generation` compute scores;
`baselines` restores images without learning anything; `directions` tells which way is better.
"""
