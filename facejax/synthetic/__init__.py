"""Rendered pictures of random people with every label: training data that the project makes itself."""
