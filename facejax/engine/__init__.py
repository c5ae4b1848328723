"""Runs over many photographs: in groups, here or on a cluster; they can be stopped and resumed.

- `job`: the protocol of a job, which treats a group of photographs in three steps; the engine of this process
- `pipeline`: reads the next group and writes the last one while one is computed
- `faces`: from photographs to faces that can be fitted, and why others cannot
- `fitter`: fits faces, as many at once as the device holds
- `fits`: the job of `facejax fit`
- `textures`, `uv_dataset`: the jobs of `facejax unwrap` and `facejax build-uv-dataset`
- `run`: the state of a run, and how it continues
- `batches`: how many faces one compiled program takes
- `store`, `remote`: where results are written: a folder, or a URL
- `ray_cluster`: the engine of a Ray cluster
- `signals`: stopping between groups
- `progress`: how far a run is
"""
