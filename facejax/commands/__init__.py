"""What the commands do, a file each; `faces` and `textures` hold what several share."""
