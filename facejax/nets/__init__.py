"""The networks, as Flax modules behind pure functions on plain parameter trees."""
