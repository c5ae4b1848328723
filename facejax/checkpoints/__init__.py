"""Weights on disk: Orbax checkpoints of this project's networks, and importers of released PyTorch weights.

| file | what lives there |
|---|---|
| `store.py` | `save`, `load`, `read_metadata`: a tree of arrays with a schema name and version, compared on load |
| `training.py` | `TrainingStore`: the newest states of a training run, to go on from after a kill |
| `released.py` | `import_3ddfa`, `import_2dasl`, `import_deep3d`, what they regress, `save_released`, `load_released` |
| `loss_networks.py` | `import_lpips`, `import_arcface`, `import_face_parsing`, `import_dpr_light`, `import_fan` |
| `layout.py` | from the names and axes of PyTorch to those of a Flax network |
| `torch_files.py` | tensors of .pth and .safetensors files, without executing anything |

docs/weights.md tells how to use them and what each licence allows. Orbax and PyTorch are imported when they are needed.
"""

from facejax.checkpoints.loss_networks import (
    import_arcface,
    import_dpr_light,
    import_face_parsing,
    import_fan,
    import_lpips,
)
from facejax.checkpoints.released import (
    Coefficients62,
    Coefficients257,
    Released,
    Whitening,
    coefficients_62,
    coefficients_257,
    import_2dasl,
    import_3ddfa,
    import_deep3d,
    load_released,
    read_whitening,
    regress_2dasl,
    regress_3ddfa,
    regress_deep3d,
    save_released,
)
from facejax.checkpoints.store import Checkpoint, load, read_metadata, save
from facejax.checkpoints.training import TrainingStore

__all__ = [
    "Checkpoint",
    "Coefficients62",
    "Coefficients257",
    "Released",
    "TrainingStore",
    "Whitening",
    "coefficients_62",
    "coefficients_257",
    "import_2dasl",
    "import_3ddfa",
    "import_arcface",
    "import_deep3d",
    "import_dpr_light",
    "import_face_parsing",
    "import_fan",
    "import_lpips",
    "load",
    "load_released",
    "read_metadata",
    "read_whitening",
    "regress_2dasl",
    "regress_3ddfa",
    "regress_deep3d",
    "save",
    "save_released",
]
