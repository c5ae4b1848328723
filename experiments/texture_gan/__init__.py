"""Training of the texture decoder: see experiments/train_texture_gan.py and docs/texture.md."""
