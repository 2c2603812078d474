"""HeatKV schedules in plain Python (the server's own is cache/, in C++).

A ranking is {source scale: [(head, layer), ...] least important first}.  A
schedule says for each target scale which (source, head, layer) segments its
attention does not see: removed(t) = F_{t-1} + E_t.
"""
import math
from fractions import Fraction


def quotas(tokens, sinks, heads, budget):
    """x_t for every scale t: heads dropped from each prunable source."""
    peak, floor, out = sum(tokens[:-1]), sum(tokens[:sinks]), []
    b = Fraction(str(budget))
    for t in range(len(tokens)):
        held = sum(tokens[:t])
        over = held - b * peak
        if over <= 0:
            out.append(0)
            continue
        if held <= floor:
            raise ValueError(f'budget {budget} is below the sink scales: '
                             f'{floor} of {peak} tokens')
        out.append(min(heads, math.ceil(heads * over / (held - floor))))
    return out


def rank(scores):
    """{s: [[score of head h] of layer l]} -> ranking."""
    out = {}
    for s, layers in scores.items():
        rows = sorted((v, h, l) for l, row in enumerate(layers)
                      for h, v in enumerate(row))
        out[int(s)] = [(h, l) for _, h, l in rows]
    return out


def solve(tokens, sinks, layers, heads, ranking, budget):
    """[set of (source, head, layer)] that each target scale does not see."""
    k, total = len(tokens), layers * heads
    x = quotas(tokens, sinks, total, budget)
    limit = Fraction(str(budget)) * total * sum(tokens[:-1])
    place = {(s, p): i for s, order in ranking.items()
             for i, p in enumerate(order)}

    def after(t):
        if t < 0 or t + 1 >= k:
            return set()
        return {(s, h, l) for s in range(sinks, t + 1)
                for h, l in ranking[s][:x[t + 1]]}
    out = []
    for t in range(k):
        active = after(t - 1)
        if t + 1 >= k:                       # the last scale is not cached
            out.append(active)
            break
        future, early = after(t), set()
        # Tokens held before this scale, all layers.
        held = sum(tokens[:t]) * total - sum(tokens[s] for s, _, _ in active)
        on = set(active)
        pending = sorted(
            (a for a in future - on if a[0] != t),
            key=lambda a: (-a[2], -a[0], place[(a[0], (a[1], a[2]))]))
        for l in range(layers):
            held += heads * tokens[t]
            for a in [a for a in future if a[2] == l and a not in on]:
                on.add(a)
                held -= tokens[a[0]]
            while held > limit:
                a = next((a for a in pending
                          if a[2] > l and a not in on), None)
                if a is None:
                    raise ValueError(
                        f'scale {t} layer {l}: {held} tokens held, '
                        f'{float(limit):.1f} allowed, nothing left to drop')
                on.add(a)
                early.add(a)
                held -= tokens[a[0]]
        out.append(active | early)
    return out


def keep_tensor(removed, layers, heads, scales):
    """Boolean [L, H, K targets, K sources] for attention masks."""
    import torch
    keep = torch.ones(layers, heads, scales, scales, dtype=torch.bool)
    for t, gone in enumerate(removed):
        for s, h, l in gone:
            keep[l, h, t, s] = False
    return keep


def random_keep(config, generator, low=.06, high=.6):
    """Segment dropout for training: the quotas of a random budget on a
    random ranking of each source scale, so drops are nested over targets."""
    import torch
    tokens = [n * n for n in config.scales]
    k, pairs = len(tokens), config.depth * config.heads
    floor = sum(tokens[:config.sink_scales]) / sum(tokens[:-1])
    low = max(low, 1.15 * floor)
    u = torch.rand((), generator=generator).item()
    budget = low * (high / low) ** u
    x = quotas(tokens, config.sink_scales, pairs, round(budget, 4))
    keep = torch.ones(pairs, k, k, dtype=torch.bool)
    for s in range(config.sink_scales, k - 1):
        order = torch.randperm(pairs, generator=generator)
        for t in range(s + 1, k):
            keep[order[:x[t]], t, s] = False
    return keep.view(config.depth, config.heads, k, k)
