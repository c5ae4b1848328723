"""Sizes of StyleGAN2's networks, and what they cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StyleGANConfig:
    """Sizes of a generator or discriminator; static and hashable. The defaults are the paper's "config F" at 1024.

    `StyleGANConfig(resolution=256, channel_base=4096, channel_max=256, latent=256)` needs a 64th of the operations, for
    processors; see `synthesis_flops`.
    """

    resolution: int = 1024  # texels along a side; a power of two
    channel_base: int = 32768  # a layer with r texels along a side has channel_base / r channels ...
    channel_max: int = 512  # ... or this many, when that is fewer
    latent: int = 512  # numbers in z and in w
    mapping_layers: int = 8
    mapping_rate: float = 0.01  # learning rate of the mapping network relative to the others'
    clamp: float | None = 256.0  # activations stay within plus or minus this; None does not clamp
    half: int = 0  # how many of the highest resolutions compute in bfloat16 (sums in float32)
    group: int = 4  # size of the groups whose spread the discriminator sees

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Texels along a side of each block: 4, 8, ..., resolution."""
        return tuple(2**k for k in range(2, self.resolution.bit_length()))

    @property
    def layers(self) -> int:
        """Latents that one map takes (W+): 18 at 1024."""
        return 2 * len(self.resolutions)

    def channels(self, resolution: int) -> int:
        return min(self.channel_base // resolution, self.channel_max)

    def is_half(self, resolution: int) -> bool:
        """Whether the block of this many texels computes in bfloat16; the first one never does."""
        return resolution > 4 and resolution * 2**self.half > self.resolution


def check_config(config: StyleGANConfig) -> None:
    """Raises ValueError, one line, when no network has such sizes."""
    side = config.resolution
    if side < 8 or side & (side - 1):
        raise ValueError(f"resolution={side}: use a power of two from 8 on")
    if config.channels(side) < 1:
        raise ValueError(f"channel_base={config.channel_base}: at least resolution={side}, or the last layer is empty")
    for name in ("channel_max", "latent", "mapping_layers", "group"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}={getattr(config, name)}: use at least 1")
    if not 0 <= config.half <= len(config.resolutions):
        raise ValueError(f"half={config.half}: how many of the {len(config.resolutions)} resolutions, highest first")


def layer_index(block: int) -> tuple[int, int, int]:
    """Indices of the latents that control a block's two convolutions and its colours.

    Block 0 (4x4) has no first convolution. A block's colours share their latent with the next block's first
    convolution.
    """
    return 2 * block - 1, 2 * block, 2 * block + 1


def synthesis_flops(config: StyleGANConfig) -> int:
    """Floating-point operations of decoding one map from its latents; an addition and a multiplication count two.

    Counts convolutions, blurs and style layers, but not what is done once per texel and channel (bias, activation). A
    step of a fit, forward and backward to the latents, costs about three times as much.
    """
    total = 0
    for side in config.resolutions:
        inputs, outputs = config.channels(side // 2), config.channels(side)
        total += 2 * side**2 * 9 * outputs**2  # conv1
        total += 2 * side**2 * outputs * 3  # to colours
        total += 2 * config.latent * 2 * outputs  # their styles
        if side > 4:
            total += 2 * (side // 2 + 1) ** 2 * 16 * inputs * outputs  # conv0, zeros of its even and odd taps included
            total += 2 * side**2 * 8 * outputs  # its blur, one axis after the other
            total += 2 * config.latent * inputs
            total += 2 * side**2 * 4 * 3  # the colours so far, upsampled
    return total
