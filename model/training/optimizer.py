"""Muon for the inner matrices, AdamW for everything else.

Matrices of one shape are stacked, so that a step is a few batched products.
Every process of a multi-GPU run applies the same update to the same averaged
gradient (`average`), and parameters are sent out anew from time to time.
"""
import torch
import torch.distributed as dist


def orthogonal(g, steps=5):
    """Newton-Schulz iteration towards U V^T; g [n, rows, columns]."""
    x = g.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.transpose(1, 2)
        b = -4.7750 * a + 2.0315 * a @ a
        x = 3.4445 * x + b @ x
    return x.transpose(1, 2) if tall else x


class Muon:
    """params: list of (parameter, parts): parts matrices stacked in dim 0."""

    def __init__(self, params, momentum=.95, decay=.02):
        self.momentum, self.decay, self.groups = momentum, decay, {}
        for p, parts in params:
            key = (p.shape[0] // parts, p.shape[1])
            self.groups.setdefault(key, []).append((p, parts))
        self.state = {k: [torch.zeros_like(p) for p, _ in v]
                      for k, v in self.groups.items()}

    @torch.no_grad()
    def step(self, rate):
        for key, members in self.groups.items():
            buf = self.state[key]
            grads = [p.grad for p, _ in members]
            torch._foreach_lerp_(buf, grads, 1 - self.momentum)
            look = torch._foreach_lerp(grads, buf, self.momentum)
            g = torch.cat([x.view(n, *key) for x, (_, n) in
                           zip(look, members)])
            u = orthogonal(g).float() * (.2 * max(key) ** .5 * rate)
            ps = [p for p, _ in members]
            torch._foreach_mul_(ps, 1 - rate * self.decay)
            sizes = [n for _, n in members]
            upd = [x.reshape(p.shape) for x, p in zip(u.split(sizes), ps)]
            torch._foreach_sub_(ps, upd)


def split(modules):
    """Named parameters of the transformer and text encoder -> (Muon list,
    AdamW list)."""
    inner, rest = [], []
    for module in modules:
        for name, p in module.named_parameters():
            matrix = p.dim() == 2 and 'block' in name and (
                'relative' not in name)
            if matrix:
                parts = 3 if 'mat_qkv' in name else (
                    2 if 'mat_kv' in name else 1)
                inner.append((p, parts))
            else:
                rest.append(p)
    return inner, rest


def average(params):
    """Mean of gradients over processes, in one message."""
    if not dist.is_initialized():
        return
    grads = [p.grad for p in params]
    flat = torch.cat([g.reshape(-1) for g in grads])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    at = 0
    for g in grads:
        g.copy_(flat[at:at + g.numel()].view_as(g))
        at += g.numel()


class Average:
    """Exponential moving average of modules' parameters and buffers."""

    def __init__(self, modules, decay):
        self.live = [t for m in modules for t in m.parameters()]
        self.mean = [t.detach().clone() for t in self.live]
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self):
        self.steps += 1
        w = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.mean, [t.detach() for t in self.live], w)

    @torch.no_grad()
    def swap(self):
        """Exchanges live parameters with the averages."""
        for p, m in zip(self.live, self.mean):
            old = p.data.clone()
            p.data.copy_(m)
            m.copy_(old)


class Clock:
    """Schedules by wall clock: a stage ends when its seconds are over."""

    def __init__(self, seconds):
        import time
        self.now, self.seconds = time.time, seconds
        self.start = self.now()

    def part(self):
        return min(1.0, (self.now() - self.start) / self.seconds)

    def override(self, path):
        """A file with a number replaces the seconds while running."""
        import os
        if os.path.exists(path):
            with open(path) as f:
                self.seconds = float(f.read())

    def spent(self):
        return self.now() - self.start
