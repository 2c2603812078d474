"""The picture tokenizer: encoder (not shipped), bit residuals, decoder.

The decoder is Infinity's (spec 6) with its tensor names.  The encoder is our
own and small, because it is only used while training.  `Residual` is the
multi-scale binary spherical quantiser: a code channel is +-1/sqrt(bits).
"""
import torch
import torch.nn.functional as F
from torch import nn


class Wrapped(nn.Module):
    """The official names have one more level: NAME.conv.weight."""

    def __init__(self, kind, module):
        super().__init__()
        setattr(self, kind, module)
        self.kind = kind

    def forward(self, x):
        return getattr(self, self.kind)(x)


def conv(i, o, k=3):
    return Wrapped('conv', nn.Conv2d(i, o, k, padding=k // 2))


def norm(n):
    return Wrapped('norm', nn.GroupNorm(32, n, eps=1e-6))


class ResBlock(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.norm1, self.conv1 = norm(i), conv(i, o)
        self.norm2, self.conv2 = norm(o), conv(o, o)
        if i != o:
            self.nin_shortcut = conv(i, o, 1)
        nn.init.zeros_(self.conv2.conv.weight)

    def forward(self, x):
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return y + (self.nin_shortcut(x) if hasattr(self, 'nin_shortcut')
                    else x)


class Upsample(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv = conv(n, n)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2, mode='nearest'))


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        widths = [c.vae_base * m for m in c.vae_multipliers]
        n = widths[-1]
        self.conv_in = conv(c.bits, n)
        self.mid = nn.Module()
        self.mid.block_1, self.mid.block_2 = ResBlock(n, n), ResBlock(n, n)
        self.up = nn.ModuleList([nn.Module() for _ in widths])
        for level in reversed(range(len(widths))):
            blocks = []
            for _ in range(c.vae_blocks):
                blocks.append(ResBlock(n, widths[level]))
                n = widths[level]
            self.up[level].block = nn.ModuleList(blocks)
            if level:
                self.up[level].upsample = Upsample(n)
        self.norm_out, self.conv_out = norm(n), conv(n, 3)

    def forward(self, z):
        x = self.mid.block_2(self.mid.block_1(self.conv_in(z)))
        for level in reversed(range(len(self.up))):
            for block in self.up[level].block:
                x = block(x)
            if level:
                x = self.up[level].upsample(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Encoder(nn.Module):
    """Space-to-depth by 4, residual blocks, one stride: 1/8 of the side."""

    def __init__(self, c):
        super().__init__()
        w = c.encoder_width
        self.stem = nn.Conv2d(48, w, 3, padding=1)
        self.high = nn.Sequential(ResBlock(w, w), ResBlock(w, w))
        self.down = nn.Conv2d(w, 2 * w, 2, stride=2)
        self.low = nn.Sequential(ResBlock(2 * w, 2 * w),
                                 ResBlock(2 * w, 2 * w))
        self.out_norm = nn.GroupNorm(32, 2 * w)
        self.out = nn.Conv2d(2 * w, c.bits, 3, padding=1)
        # Zero mean a channel over the data keeps every bit in use.
        self.center = nn.BatchNorm2d(c.bits, affine=False, momentum=.02)
        self.gain = nn.Parameter(torch.full((1, c.bits, 1, 1), .5))

    def forward(self, x):
        x = self.stem(F.pixel_unshuffle(x, 4))
        x = self.low(self.down(self.high(x)))
        z = self.out(F.silu(self.out_norm(x)))
        with torch.autocast(x.device.type, enabled=False):
            return self.center(z.float()) * self.gain


class Residual:
    """Bits of a latent, scale by scale, and the sums they stand for."""

    def __init__(self, config):
        self.c, self.last = config, config.latent

    def up(self, codes):
        if codes.shape[-1] == self.last:
            return codes
        return F.interpolate(codes, size=(self.last, self.last),
                             mode='bilinear', align_corners=False)

    def down(self, total, n):
        return F.interpolate(total, size=(n, n), mode='bilinear',
                             align_corners=False)

    def encode(self, z, flip=None):
        """z [b, d, m, m] -> (bits [b, tokens, d] bool, next inputs
        [b, tokens-1, d], sum [b, d, m, m]).

        flip [b, 1, 1, 1]: probability of turning a bit that is fed forward;
        the labels of later scales are those of the turned history
        (bitwise self-correction).
        """
        total, bits, nexts = torch.zeros_like(z), [], []
        for s, n in enumerate(self.c.scales):
            r = z - total
            if n != self.last:
                r = F.interpolate(r, size=(n, n), mode='area')
            on = r > 0
            bits.append(on.flatten(2).transpose(1, 2))
            if flip is not None:
                on = on ^ (torch.rand_like(r) < flip)
            code = torch.where(on, self.c.code, -self.c.code).to(z.dtype)
            total = total + self.up(code)
            if s + 1 < len(self.c.scales):
                nexts.append(self.down(total, self.c.scales[s + 1])
                             .flatten(2).transpose(1, 2))
        return torch.cat(bits, 1), torch.cat(nexts, 1), total
