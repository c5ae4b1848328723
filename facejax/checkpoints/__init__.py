"""Weights on disk: Orbax checkpoints of this project's networks, and importers of released PyTorch weights.

| file | what lives there |
|---|---|
| `store.py` | `save`, `load`: a tree of arrays with a schema name and version, compared on load |
| `training.py` | `TrainingStore`: the newest states of a training run, to go on from after a kill |
"""

from facejax.checkpoints.store import Checkpoint, load, save
from facejax.checkpoints.training import TrainingStore

__all__ = ["Checkpoint", "TrainingStore", "load", "save"]
