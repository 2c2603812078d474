"""Sizes of the embedded model: one value object, shared by every stage.

`DEFAULT` is what ships; `TINY` runs every stage on a CPU in a minute and is
used by the tests.  Channels of the picture decoder are multiples of 32 because
its group norms have 32 groups (research: Infinity's VAE, norm of 32 groups).
"""
import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Config:
    name: str = 'heatkv-default'
    pixels: int = 128
    scales: tuple = (1, 2, 3, 4, 6, 8, 12, 16)
    rope_grid: int = 0       # 0: the last scale
    sink_scales: int = 3
    bits: int = 16
    # Transformer.
    width: int = 320
    heads: int = 10
    depth: int = 8
    chunks: int = 2
    mlp_width: int = 1280
    # Text encoder (T5 architecture) and tokenizer.
    vocabulary: int = 3072
    text_width: int = 256
    text_heads: int = 4
    text_head_width: int = 64
    text_layers: int = 4
    text_mlp: int = 512
    text_train_length: int = 32
    text_max_length: int = 64
    relative_buckets: int = 32
    relative_max_distance: int = 128
    # Picture decoder: channels of a level = base * multiplier.
    vae_base: int = 32
    vae_multipliers: tuple = (3, 3, 4, 4)
    vae_blocks: int = 3
    encoder_width: int = 128
    # Judge.
    judge_widths: tuple = (32, 64, 112, 144)

    @property
    def tokens(self):
        return sum(n * n for n in self.scales)

    @property
    def starts(self):
        """First token of each scale."""
        out, at = [], 0
        for n in self.scales:
            out.append(at)
            at += n * n
        return out

    @property
    def code(self):
        """Magnitude of a code channel: 1 / sqrt(bits)."""
        return 1.0 / math.sqrt(self.bits)

    @property
    def latent(self):
        return self.scales[-1]


DEFAULT = Config()
TINY = Config(
    name='heatkv-tiny', pixels=64, scales=(1, 2, 3, 4, 6, 8), width=64,
    sink_scales=2,
    heads=2, depth=2, mlp_width=256, text_width=128, text_heads=2,
    text_layers=1, text_mlp=128, vae_base=32, vae_multipliers=(1, 1, 1, 1),
    vae_blocks=1, encoder_width=32, judge_widths=(16, 16, 32, 32))
