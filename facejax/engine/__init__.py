"""Many photographs: groups that are read, fitted and written; runs that can be stopped and resumed; a cluster of them.

- `faces`: from photographs to faces that can be fitted, and why others cannot
- `batches`: how many faces one compiled program takes
- `worker`: a group of photographs to the folders of their faces
- `pipeline`: the next group is read and the last one written while one is fitted
- `store`, `remote`: where results lie: a folder, or a URL
- `run`: what a run is, what of it is done, and how it goes on
- `ray_cluster`: the same on a Ray cluster
- `signals`: stopping between groups, and progress
"""
