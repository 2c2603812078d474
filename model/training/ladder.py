"""Positions of tokens: scale of each token, rotary tables (spec 3)."""
import torch


def scale_of_token(config):
    """[tokens] index of the scale a token belongs to."""
    return torch.cat([torch.full((n * n,), s)
                      for s, n in enumerate(config.scales)])


def rope_tables(config):
    """cos, sin [tokens, head_width / 2], mode 2: indices on the last grid."""
    half = config.width // config.heads // 2
    inv = 1.0 / (10000.0 ** (torch.arange(0, half, 2).float() / half))
    last, angles = config.rope_grid or config.scales[-1], []
    for n in config.scales:
        at = (torch.arange(n) * (last / n)).round()
        y = (at[:, None] * inv)[:, None].expand(n, n, -1)
        x = (at[:, None] * inv)[None].expand(n, n, -1)
        angles.append(torch.cat([y, x], -1).reshape(n * n, half))
    angles = torch.cat(angles)
    return angles.cos(), angles.sin()


def rotate(t, cos, sin):
    """Turns adjacent pairs of the last dimension; t [..., tokens, width]."""
    a, b = t.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
