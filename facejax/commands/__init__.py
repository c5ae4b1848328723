"""The commands, one module each; `runs` has the shared parts of those for many photographs."""
