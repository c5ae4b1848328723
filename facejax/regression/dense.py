"""The dense network as it is shipped, and what it sees in crops of photographs."""

from pathlib import Path

SCHEMA, VERSION = "facejax.dense", 1
ASSET = Path(__file__).parents[1] / "assets" / "dense"
MARGIN = 1.9  # side of the network's crop, in longer sides of the landmarks' box
