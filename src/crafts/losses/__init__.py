"""Losses as pure functions of tensors; none knows the loop, a network or a schedule object."""
