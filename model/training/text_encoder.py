"""A T5 encoder with Hugging Face's tensor names (spec 1.1).

RMS norm, relative position bias of block 0 used by every block, gated
GELU(tanh), no 1/sqrt(d), no biases.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        v = x.float()
        v = v * torch.rsqrt(v.pow(2).mean(-1, keepdim=True) + 1e-6)
        return (v * self.weight).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, c, with_bias):
        super().__init__()
        self.heads, self.inner = c.text_heads, c.text_heads * c.text_head_width
        for n in 'qkv':
            setattr(self, n, nn.Linear(c.text_width, self.inner, bias=False))
        self.o = nn.Linear(self.inner, c.text_width, bias=False)
        if with_bias:
            self.relative_attention_bias = nn.Embedding(
                c.relative_buckets, c.text_heads)
        nn.init.normal_(self.q.weight, std=(
            c.text_width * c.text_head_width) ** -.5)
        for m in (self.k, self.v, self.o):
            nn.init.normal_(m.weight, std=c.text_width ** -.5)

    def forward(self, x, bias):
        b, n, _ = x.shape
        q, k, v = (m(x).view(b, n, self.heads, -1).transpose(1, 2)
                   for m in (self.q, self.k, self.v))
        s = (q @ k.transpose(-1, -2)).float() + bias
        o = s.softmax(-1).to(v.dtype) @ v
        return self.o(o.transpose(1, 2).reshape(b, n, self.inner))


class SelfLayer(nn.Module):
    def __init__(self, c, first):
        super().__init__()
        self.SelfAttention = Attention(c, first)
        self.layer_norm = RmsNorm(c.text_width)


class Gated(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.wi_0 = nn.Linear(c.text_width, c.text_mlp, bias=False)
        self.wi_1 = nn.Linear(c.text_width, c.text_mlp, bias=False)
        self.wo = nn.Linear(c.text_mlp, c.text_width, bias=False)
        for m in (self.wi_0, self.wi_1):
            nn.init.normal_(m.weight, std=c.text_width ** -.5)
        nn.init.normal_(self.wo.weight, std=c.text_mlp ** -.5)

    def forward(self, x):
        return self.wo(F.gelu(self.wi_0(x), approximate='tanh')
                       * self.wi_1(x))


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.DenseReluDense = Gated(c)
        self.layer_norm = RmsNorm(c.text_width)


class Block(nn.Module):
    def __init__(self, c, first):
        super().__init__()
        self.layer = nn.ModuleList([SelfLayer(c, first), FeedForward(c)])

    def forward(self, x, bias):
        a, f = self.layer
        x = x + a.SelfAttention(a.layer_norm(x), bias)
        return x + f.DenseReluDense(f.layer_norm(x))


class Stack(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.block = nn.ModuleList(
            [Block(c, i == 0) for i in range(c.text_layers)])
        self.final_layer_norm = RmsNorm(c.text_width)


class TextEncoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.shared = nn.Embedding(c.vocabulary, c.text_width)
        self.encoder = Stack(c)
        self.bucket_cache = {}

    def buckets(self, n, device):
        key = (n, str(device))
        if key not in self.bucket_cache:
            half = self.c.relative_buckets // 2
            at = torch.arange(n)
            rel = at[None] - at[:, None]           # key - query
            r, exact = rel.abs(), half // 2
            far = exact + (torch.log(r.clamp(min=1).float() / exact)
                           / math.log(self.c.relative_max_distance / exact)
                           * (half - exact)).long()
            out = torch.where(r < exact, r, far.clamp(max=half - 1))
            self.bucket_cache[key] = (out + (rel > 0) * half).to(device)
        return self.bucket_cache[key]

    def forward(self, ids, lengths):
        """ids [b, n], lengths [b] -> features [b, n, text_width]."""
        n = ids.shape[1]
        first = self.encoder.block[0].layer[0].SelfAttention
        bias = first.relative_attention_bias(
            self.buckets(n, ids.device)).permute(2, 0, 1)[None].float()
        seen = torch.arange(n, device=ids.device)[None] < lengths[:, None]
        bias = bias.masked_fill(~seen[:, None, None], -1e9)
        x = self.shared(ids)
        for block in self.encoder.block:
            x = block(x, bias)
        return self.encoder.final_layer_norm(x)
