"""Parts of `experiments/build_default_head.py`: source, layout, topology, shape, annotate, albedo."""
