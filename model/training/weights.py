"""safetensors in the server's format: F16, or I8 with NAME.int8_scale.

value = int8 * scale[row], one scale an output row (dimension 0), symmetric.
"""
import os

import torch
from safetensors.torch import load_file, save_file


def quantise(t):
    """Float [rows, ...] -> int8 of the same shape and F32 [rows]."""
    flat = t.float().flatten(1)
    scale = flat.abs().amax(1).clamp(min=1e-8) / 127
    q = (flat / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    return q.view(t.shape), scale


def pack(state, int8_over=4000):
    """State dict -> tensors of a file: large matrices int8, others F16."""
    out = {}
    for name, t in state.items():
        t = t.detach().cpu().contiguous()
        if t.is_floating_point() and t.dim() >= 2 and (
                t.numel() >= int8_over and t.shape[0] > 3):
            out[name], out[name + '.int8_scale'] = quantise(t)
        elif t.is_floating_point():
            out[name] = t.half()
        else:
            out[name] = t
    return out


def unpack(tensors):
    """The inverse of pack: everything float32."""
    out = {}
    for name, t in tensors.items():
        if name.endswith('.int8_scale'):
            continue
        if t.dtype == torch.int8:
            s = tensors[name + '.int8_scale']
            t = t.float() * s.view(-1, *[1] * (t.dim() - 1))
        out[name] = t.float() if t.is_floating_point() else t
    return out


def save(state, path, **options):
    save_file(pack(state, **options), path + '.tmp')
    os.replace(path + '.tmp', path)


def load(path):
    return unpack(load_file(path))
