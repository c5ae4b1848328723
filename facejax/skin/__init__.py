"""Skin maps from photographs: a complete, evenly lit material and how far it can be trusted."""
