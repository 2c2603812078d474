"""Infinity's transformer, with its tensor names (spec 1.2 to 4).

Used two ways: `forward` trains on all scales at once under a block-causal
mask; `step` (with caches) is the sampler's and equals the spec's loop.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

from . import ladder


class SelfAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.width = c.heads, c.width
        self.scale_mul_1H11 = nn.Parameter(
            torch.full((1, c.heads, 1, 1), math.log(8.0)))
        self.q_bias = nn.Parameter(torch.zeros(c.width))
        self.v_bias = nn.Parameter(torch.zeros(c.width))
        self.register_buffer('zero_k_bias', torch.zeros(c.width))
        self.mat_qkv = nn.Linear(c.width, 3 * c.width, bias=False)
        self.proj = nn.Linear(c.width, c.width)

    def qkv(self, y, cos, sin):
        """y [b, n, C] -> q, k, v [b, H, n, c]; q, k normalised, turned."""
        b, n, _ = y.shape
        bias = torch.cat([self.q_bias, self.zero_k_bias, self.v_bias])
        q, k, v = F.linear(y, self.mat_qkv.weight, bias).view(
            b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mul = self.scale_mul_1H11.clamp(max=math.log(100)).exp()
        q = F.normalize(q.float(), dim=-1, eps=1e-12) * mul
        k = F.normalize(k.float(), dim=-1, eps=1e-12)
        q, k = ladder.rotate(q, cos, sin), ladder.rotate(k, cos, sin)
        return q.to(v.dtype), k.to(v.dtype), v


class CrossAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, w = c.heads, c.width
        self.v_bias = nn.Parameter(torch.zeros(w))
        self.register_buffer('zero_k_bias', torch.zeros(w))
        self.mat_q = nn.Linear(w, w)
        self.mat_kv = nn.Linear(w, 2 * w, bias=False)
        self.proj = nn.Linear(w, w)

    def forward(self, x, text, text_mask):
        """text [b, m, C]; text_mask bool [b, 1, 1, m]: True is seen."""
        b, n, w = x.shape
        q = self.mat_q(x).view(b, n, self.heads, -1).transpose(1, 2)
        bias = torch.cat([self.zero_k_bias, self.v_bias])
        k, v = F.linear(text, self.mat_kv.weight, bias).view(
            b, text.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=text_mask)
        return self.proj(o.transpose(1, 2).reshape(b, n, w))


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.fc1 = nn.Linear(c.width, c.mlp_width)
        self.fc2 = nn.Linear(c.mlp_width, c.width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate='tanh'))


def plain_norm(x):
    return F.layer_norm(x.float(), (x.shape[-1],), eps=1e-6)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.ada_gss = nn.Parameter(torch.zeros(1, 1, 6, c.width))
        self.ada_gss.data[:, :, :2] = .5
        self.sa, self.ca, self.ffn = (SelfAttention(c), CrossAttention(c),
                                      FeedForward(c))
        self.ca_norm = nn.LayerNorm(c.width, eps=1e-6)
        # Queries of the last two scales attend without a mask over a prefix;
        # the small scales before them share one masked call.
        starts = c.starts
        self.cuts = (starts[-2], starts[-1], c.tokens)

    def attend(self, q, k, v, masks):
        a, b, n = self.cuts
        m = q.shape[2]
        if m <= a:                       # only the first scales
            return F.scaled_dot_product_attention(
                q, k, v, attn_mask=masks[0][..., :m, :m], scale=1.0)
        out = [F.scaled_dot_product_attention(
            q[:, :, :a], k[:, :, :a], v[:, :, :a], attn_mask=masks[0],
            scale=1.0)]
        for i, (x, y) in enumerate(((a, b), (b, n))):
            out.append(F.scaled_dot_product_attention(
                q[:, :, x:y], k[:, :, :y], v[:, :, :y],
                attn_mask=masks[1 + i], scale=1.0))
        return torch.cat(out, 2)

    def forward(self, x, gss, text, text_mask, cos, sin, m0, m1, m2):
        b, n, w = x.shape
        g1, g2, s1, s2, t1, t2 = (self.ada_gss + gss).unbind(2)
        q, k, v = self.sa.qkv(plain_norm(x) * (s1 + 1) + t1, cos, sin)
        o = self.attend(q, k, v, (m0, m1, m2))
        o = self.sa.proj(o.transpose(1, 2).reshape(b, n, w))
        x = (x + o * g1).to(x.dtype)
        x = x + self.ca(self.ca_norm(x), text, text_mask).to(x.dtype)
        y = self.ffn(plain_norm(x) * (s2 + 1) + t2)
        return (x + y * g2).to(x.dtype)


class Pool(nn.Module):
    """Attentive pooling of the text into one vector."""

    def __init__(self, c):
        super().__init__()
        self.ca = nn.Module()
        heads = c.text_width // 128
        self.heads, w = heads, c.width
        self.ca.mat_q = nn.Parameter(torch.randn(1, heads, w // heads) * .1)
        self.ca.v_bias = nn.Parameter(torch.zeros(w))
        self.ca.register_buffer('zero_k_bias', torch.zeros(w))
        self.ca.mat_kv = nn.Linear(c.text_width, 2 * w, bias=False)
        self.ca.proj = nn.Linear(w, w)

    def forward(self, rows, mask):
        b, m, _ = rows.shape
        bias = torch.cat([self.ca.zero_k_bias, self.ca.v_bias])
        k, v = F.linear(rows, self.ca.mat_kv.weight, bias).view(
            b, m, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        q = self.ca.mat_q.transpose(0, 1)[None].expand(b, -1, -1, -1).to(
            k.dtype)
        s = (q @ k.transpose(-1, -2)).float() / math.sqrt(k.shape[-1])
        p = s.masked_fill(~mask, -1e9).softmax(-1).to(v.dtype)
        return self.ca.proj((p @ v).reshape(b, -1))


class Chunk(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.module = nn.ModuleList(blocks)


class Infinity(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c, w = c, c.width
        self.cfg_uncond = nn.Parameter(
            torch.randn(c.text_max_length, c.text_width) * .5)
        self.pos_start = nn.Parameter(torch.randn(1, 1, w) * .02)
        self.text_norm = nn.Module()
        self.text_norm.weight = nn.Parameter(torch.ones(c.text_width))
        self.text_proj_for_sos = Pool(c)
        self.text_proj_for_ca = nn.Sequential(
            nn.Linear(c.text_width, w), nn.GELU(approximate='tanh'),
            nn.Linear(w, w))
        self.lvl_embed = nn.Embedding(len(c.scales), w)
        self.word_embed = nn.Linear(c.bits, w)
        self.shared_ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(w, 6 * w))
        self.head_nm = nn.Module()
        self.head_nm.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(w, 2 * w))
        self.head = nn.Linear(w, 2 * c.bits)
        per = c.depth // c.chunks
        self.block_chunks = nn.ModuleList(
            [Chunk([Block(c) for _ in range(per)]) for _ in range(c.chunks)])
        self._init()
        cos, sin = ladder.rope_tables(c)
        of = ladder.scale_of_token(c)
        self.register_buffer('cos', cos, persistent=False)
        self.register_buffer('sin', sin, persistent=False)
        self.register_buffer('of', of, persistent=False)

    def _init(self):
        for name, m in self.named_modules():
            if isinstance(m, nn.Linear):
                nn.init.trunc_normal_(m.weight, std=m.in_features ** -.5 * .6)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
                if name.endswith(('sa.proj', 'ca.proj', 'fc2')) and (
                        'block' in name):
                    m.weight.data *= .3
        nn.init.normal_(self.lvl_embed.weight, std=.1)
        self.word_embed.weight.data.normal_(std=.5)
        self.head.weight.data *= .1
        self.shared_ada_lin[1].weight.data *= .1
        self.head_nm.ada_lin[1].weight.data *= .1

    @property
    def blocks(self):
        return [b for chunk in self.block_chunks for b in chunk.module]

    def text(self, features, mask):
        """features [b, m, Ct5] float, mask bool [b, m] -> sos, rows, gss,
        head scale, head shift."""
        f = features.float()
        f = f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + 1e-6)
        f = f * self.text_norm.weight
        sos = self.text_proj_for_sos(f, mask[:, None, None])
        rows = self.text_proj_for_ca(f)
        gss = self.shared_ada_lin(sos).view(-1, 1, 6, self.c.width)
        h = self.head_nm.ada_lin(sos).view(-1, 1, 2, self.c.width)
        return sos, rows, gss, h[:, :, 0], h[:, :, 1]

    def masks(self, keep=None):
        """Three boolean masks a layer.  keep: bool [L, H, K, K] of (target
        scale, source scale), or None for the full cache."""
        a, b, n = self.blocks[0].cuts
        of, k = self.of, len(self.c.scales)
        causal = of[:a, None] >= of[None, :a]
        if keep is None:
            return [(causal[None, None], None, None)] * self.c.depth
        out = []
        for layer in keep:
            small = layer[:, of[:a]][:, :, of[:a]] & causal
            out.append((small[None], layer[:, k - 2, of[:b]][None, :, None],
                        layer[:, k - 1, of[:n]][None, :, None]))
        return out

    def forward(self, features, mask, nexts, keep=None):
        """features [b, m, Ct5], mask [b, m], nexts [b, tokens-1, bits] ->
        hidden [b, tokens, C] ready for `logits`, and head modulation."""
        sos, rows, gss, hs, ht = self.text(features, mask)
        x = torch.cat([(sos[:, None] + self.pos_start).to(rows.dtype),
                       self.word_embed(nexts).to(rows.dtype)], 1)
        n = x.shape[1]                   # all scales, or the first ones
        x = x + self.lvl_embed.weight[self.of[:n]].to(x.dtype)
        cos, sin = self.cos[:n], self.sin[:n]
        for block, m in zip(self.blocks, self.masks(keep)):
            x = block(x, gss, rows, mask[:, None, None], cos, sin, *m)
        return x, hs, ht

    def logits(self, x, hs, ht):
        """[b, n, 2 * bits]: pairs (bit is 0, bit is 1)."""
        return self.head(plain_norm(x) * (hs + 1) + ht)


def bit_loss(logits, bits, weights):
    """Weighted mean cross-entropy of a bit; weights [tokens] sum to 1."""
    lg = logits.float().unflatten(-1, (-1, 2))
    margin = lg[..., 1] - lg[..., 0]
    ce = F.softplus(torch.where(bits, -margin, margin)).mean(-1)
    return (ce * weights).sum(1).mean(), ce.mean(0)
