"""What the commands do, a file each; `runs` holds what those with many photographs share."""
