"""Paints scenes on a device: atlas rows in, pictures in [-1, 1] out.

Straight "over" compositing of premultiplied samples; each object is sampled
bilinearly from the mip level nearest above its size.  No gradient.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F

from .scenes import MAX_OBJECTS

# Mip rectangles of an atlas row in pixels: (x0, y0, side).
LEVELS = ((0, 0, 128), (0, 128, 64), (64, 128, 32))


def pack(scenes):
    """Scenes to flat arrays: objects sorted by drawing order."""
    n = len(scenes)
    ground = [s.ground or (0, 0, 0) for s in scenes]
    flat, counts = [], []
    for j in range(MAX_OBJECTS):
        c = 0
        for i, s in enumerate(scenes):
            if len(s.objects) > j:
                o = s.objects[j]
                t = o.tint or (-1, -1, -1)
                flat.append((i, o.row, o.x, o.y, o.size,
                             math.radians(o.angle), float(o.flip), *t))
                c += 1
        counts.append(c)
    f = np.array(flat, np.float32).reshape(-1, 10)
    return {
        'scene': torch.from_numpy(f[:, 0].astype(np.int64)),
        'row': torch.from_numpy(f[:, 1].astype(np.int64)),
        'place': torch.from_numpy(f[:, 2:7].copy()),
        'tint': torch.from_numpy(f[:, 7:10].copy()),
        'slots': counts,
        'top': torch.tensor([s.top for s in scenes], dtype=torch.float32),
        'bottom': torch.tensor([s.bottom for s in scenes],
                               dtype=torch.float32),
        'ground': torch.tensor(ground, dtype=torch.float32),
        'horizon': torch.tensor(
            [s.horizon if s.ground else 1e4 for s in scenes]),
        'labels': torch.tensor(
            [(s.main, s.first, s.second, s.axis, s.count, s.back, s.tint)
             for s in scenes]).view(n, 7)}


class Compositor:
    """Owns the atlas on a device."""

    def __init__(self, atlas_path, luma, device, pixels=128):
        atlas = np.load(atlas_path, mmap_mode='r')
        self.atlas = torch.empty(atlas.shape, dtype=torch.uint8,
                                 device=device)
        for k in range(0, len(atlas), 256):
            self.atlas[k:k + 256] = torch.from_numpy(
                np.array(atlas[k:k + 256])).to(device)
        self.luma = torch.from_numpy(luma).to(device)
        self.device, self.pixels = device, pixels
        axis = (torch.arange(pixels, device=device) + .5) * (128.0 / pixels)
        self.axis = axis

    @torch.no_grad()
    def paint(self, batch):
        """[n, 3, pixels, pixels] float32 in [-1, 1]."""
        d = self.device
        b = {k: v.to(d, non_blocking=True) if torch.is_tensor(v) else v
             for k, v in batch.items()}
        t = (self.axis / 128).view(1, 1, -1, 1)
        hor = b['horizon'].view(-1, 1, 1, 1)
        sky_t = (self.axis.view(1, 1, -1, 1) / hor.clamp(max=128)).clamp(
            max=1)
        canvas = b['top'][:, :, None, None] * (1 - sky_t) + b[
            'bottom'][:, :, None, None] * sky_t
        land = torch.sigmoid((self.axis.view(1, 1, -1, 1) - hor) * 1.5)
        shade = 1 - .14 * (t - hor / 128).clamp(min=0)
        canvas = canvas * (1 - land) + b['ground'][
            :, :, None, None] * shade * land
        canvas = canvas.expand(-1, -1, -1, self.pixels).div(255).contiguous()
        at = 0
        for n in b['slots']:
            if n == 0:
                break
            for k in range(at, at + n, 1024):
                s = slice(k, min(k + 1024, at + n))
                self._draw(canvas, b['scene'][s], b['row'][s], b['place'][s],
                           b['tint'][s])
            at += n
        return canvas * 2 - 1

    def _draw(self, canvas, scene, row, place, tint):
        x, y, size, angle, flip = place.unbind(1)
        dx = (self.axis[None, None] - x[:, None, None])
        dy = (self.axis[None, :, None] - y[:, None, None])
        c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
        inv = (128.0 / size)[:, None, None]
        u = (dx * c + dy * s) * inv
        v = (dy * c - dx * s) * inv
        u = torch.where(flip[:, None, None] > .5, -u, u)
        inside = (u.abs() < 63.5) & (v.abs() < 63.5)
        level = ((size < 80).long() + (size < 40).long())
        rect = torch.tensor(LEVELS, device=self.device,
                            dtype=torch.float32)[level]
        scale = (rect[:, 2] / 128)[:, None, None]
        # Pixel position in the 128 x 192 row, then grid_sample's [-1, 1].
        px = rect[:, 0, None, None] + (u + 64) * scale
        py = rect[:, 1, None, None] + (v + 64) * scale
        grid = torch.stack([px / 64 - 1, py / 96 - 1], -1)
        src = self.atlas[row].float().div_(255)
        out = F.grid_sample(src, grid, mode='bilinear', align_corners=False)
        out = out * inside[:, None]
        rgb, alpha = out[:, :3], out[:, 3:].clamp(0, 1)
        rgb = self._tinted(rgb, alpha, tint, self.luma[row])
        # One object a scene in a slot: indices are unique.
        canvas[scene] = canvas[scene] * (1 - alpha) + rgb

    @staticmethod
    def _tinted(rgb, alpha, tint, mean):
        """Recolours by brightness: the sprite's mean becomes the tint."""
        on = (tint[:, 0] >= 0)[:, None, None, None]
        t = (tint.clamp(min=0) / 255)[:, :, None, None]
        luma = (rgb[:, :1] * .3 + rgb[:, 1:2] * .59 + rgb[:, 2:] * .11)
        r = luma / alpha.clamp(min=1e-3) / mean.clamp(min=.08)[
            :, None, None, None]
        dark = t * (.35 + .65 * r.clamp(max=1))
        light = (r - 1).clamp(0, 1.2) / 1.2
        new = dark + (1 - dark) * light * .55
        new = .92 * new * alpha + .08 * rgb
        return torch.where(on, new, rgb)


def to_uint8(x):
    """[n, 3, h, w] in [-1, 1] to [n, h, w, 3] bytes, truncated (spec 6)."""
    return ((x.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).mul(255).to(
        torch.uint8)
