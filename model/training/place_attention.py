"""Cross-attention that looks up the thing named for a token's own place.

place_heads.py marks the text features of a named thing with its place.  Here
the marks are led, unmixed, through the text projection (two of its hidden
units an axis: gelu(x) - gelu(-x) = x) to two directions of the text rows that
nothing else uses.  Every head of chosen blocks then gets one more term in its
logits: (place of the picture token) x (mark of the text token), an axis each.
The token's place is read by ridge regression from its normalised hidden
state.  Each term is a rank-one change of mat_q and of the key half of mat_kv,
along the direction that the head's queries and keys use least.
"""
import torch
import torch.nn.functional as F

from .place_heads import rid


def coordinates(config, scales):
    """[tokens, 2]: +1 at the left (top) edge's cells, -1 opposite."""
    out = []
    for n in config.scales[:scales]:
        at = 1 - (torch.arange(n) + .5) * 2 / n
        at = at / at.abs().max().clamp(min=1e-6)
        out.append(torch.stack([at[None].expand(n, n),
                                at[:, None].expand(n, n)], -1).reshape(-1, 2))
    return torch.cat(out)


def ridge(x, y, weight, strength=1e-2):
    """Least squares with an offset: y ~ (x - mean) w; w, mean, R^2."""
    w = (weight / weight.sum())[:, None].double()
    x, y = x.double(), y.double()
    mean = (x * w).sum(0)
    xc = x - mean
    a = (xc * w).T @ xc
    a += strength * a.diagonal().mean() * torch.eye(len(a)).to(a)
    out = torch.linalg.solve(a, (xc * w).T @ y)
    error = ((xc @ out - y).pow(2) * w).sum(0) / (
        (y - (y * w).sum(0)).pow(2) * w).sum(0)
    return out.float(), mean.float(), (1 - error).float()


@torch.no_grad()
def lead(model, t5, u, features, mask, marks):
    """Leads marks through the text projection.  u: place_heads.add's.
    Returns the directions of the text rows that carry them, [C, 2]."""
    gain = t5.encoder.final_layer_norm.weight * model.text_norm.weight
    pool, first, _, second = (model.text_proj_for_sos.ca.mat_kv,
                              *model.text_proj_for_ca, None)[:4]
    rid(pool.weight, u * gain[:, None])
    rid(first.weight, u * gain[:, None])
    read = u / gain[:, None]                     # reads the mark exactly
    t = read * model.text_norm.weight[:, None]
    rid(model.cfg_uncond, t)
    f = features.float()
    f = f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + 1e-6)
    f = f * model.text_norm.weight
    hidden = F.gelu(first(f), approximate='tanh')[mask]
    rows = second(hidden).double()
    rows = rows - rows.mean(0)
    r = torch.linalg.eigh(rows.T @ rows)[1][:, :2].float()
    second.weight.sub_(r @ (r.T @ second.weight))
    second.bias.sub_(r @ (r.T @ second.bias))
    value = second.weight.norm(dim=0) * hidden.std(0)
    units = value.argsort()[:4].tolist()
    for axis in range(2):
        got = (f @ read[:, axis])[marks[..., axis] != 0].abs()
        got = got.quantile(.75)                 # of the thing named first
        for sign in (1, -1):
            j = units.pop()
            first.weight[j] = sign * read[:, axis] / got
            first.bias[j] = 0
            second.weight[:, j] = sign * r[:, axis]
    for block in model.blocks:
        rid(block.ca.mat_kv.weight, r)
    return r


@torch.no_grad()
def observe(model, run):
    """Inputs of each block's cross-attention while run() is evaluated."""
    seen = []
    hooks = [b.ca.register_forward_pre_hook(
        lambda m, args: seen.append(args[:2])) for b in model.blocks]
    run()
    for h in hooks:
        h.remove()
    return seen


@torch.no_grad()
def add(model, seen, r, scales, force, first_block=1):
    """seen: from observe on pairs; r: from lead; force: logit added where
    coordinate and mark are both 1.  Returns R^2 of the places."""
    c = model.c
    xy = coordinates(c, scales)
    per = torch.cat([torch.full((n * n,), 1.0 / (n * n) if n > 1 else 0.0)
                     for n in c.scales[:scales]])
    report, each = [], c.width // c.heads
    for l, (y, rows) in enumerate(seen):
        if l < first_block:
            continue
        b, n, w = y.shape
        p, mean, fit = ridge(y.reshape(-1, w).float(), xy.repeat(b, 1),
                             per.repeat(b))
        report.append([round(v, 2) for v in fit.tolist()])
        ca = model.blocks[l].ca
        q = ca.mat_q(y.float()).reshape(-1, c.heads, each)
        k = F.linear(rows.float(), ca.mat_kv.weight[:w]).reshape(
            -1, c.heads, each)
        for h in range(c.heads):
            use = sum(t[:, h].T @ t[:, h] / t[:, h].pow(2).sum()
                      for t in (q, k))
            v = torch.linalg.eigh(use)[1]
            at = slice(h * each, (h + 1) * each)
            for axis in range(2):
                d = v[:, axis]
                s = (force * each ** .5) ** .5
                ca.mat_q.weight[at] += s * torch.outer(d, p[:, axis])
                ca.mat_q.bias[at] -= s * d * (p[:, axis] @ mean)
                ca.mat_kv.weight[at] += s * torch.outer(d, r[:, axis])
    return report
