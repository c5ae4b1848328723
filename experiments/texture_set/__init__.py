"""Evenly lit albedo maps in the default head's UV layout, recombined from the CC0 skins: see docs/texture_set.md."""
