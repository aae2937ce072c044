"""The same sums in the order that is fast on a CPU."""
