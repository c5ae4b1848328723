"""Many photographs: groups that are read, worked on and written; runs that can be stopped and resumed; a cluster.

- `job`: what is done with a group of photographs, in three steps; the engine of this process
- `pipeline`: the next group is read and the last one written while one is worked on
- `faces`: from photographs to faces that can be fitted, and why others cannot
- `fitter`: faces fitted, as many at once as the device holds
- `fits`: the job of `facejax fit`
- `textures`, `uv_dataset`: the jobs of `facejax unwrap` and `facejax build-uv-dataset`
- `run`: what a run is, what of it is done, and how it goes on
- `batches`: how many faces one compiled program takes
- `store`, `remote`: where results lie: a folder, or a URL
- `ray_cluster`: the engine of a Ray cluster
- `signals`: stopping between groups, and progress
"""
