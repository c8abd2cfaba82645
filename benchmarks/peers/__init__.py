"""Secateur beside other ways to make a network smaller: same network, data, steps and batches."""
