"""Routing for traffic that moves: decide the next interval's split ratios and rates from the intervals before it."""
