"""Seeded random weights of the Infinity family's size and names.

They have the size of a trained model and none of its knowledge: matrices and
convolutions keep the size of what they are applied to, norms are near the
identity, so that activations stay finite through any depth.  Values are stored
as bfloat16, which float32 holds exactly: every run reads the same numbers.
"""

import math
import os

import torch
from safetensors.torch import save_file

BUFFERS_OF_ZEROS = "zero_k_bias"


def law_of(name, shape):
    """Deviation and mean of a tensor of this official name."""
    if "scale_mul" in name:
        return 0.0, math.log(4)
    if BUFFERS_OF_ZEROS in name:
        return 0.0, 0.0
    if name.endswith(("ada_gss", "bias", "lvl_embed.weight")):
        return 0.1, 0.0
    if len(shape) == 1:
        return 0.02, 1.0
    if not name.endswith(".weight"):
        return 1.0, 0.0
    return 1 / math.sqrt(math.prod(shape[1:])), 0.0


def draw(shapes, seed, device="cpu"):
    """{name: shape} -> {name: bfloat16 on the CPU}, drawn in the order of the
    names.  Other devices draw other numbers, and 2e9 of them sooner."""
    generator = torch.Generator(device).manual_seed(seed)
    tensors = {}
    for name in sorted(shapes):
        deviation, mean = law_of(name, shapes[name])
        values = torch.empty(shapes[name], device=device)
        if deviation:
            values.normal_(mean, deviation, generator=generator)
        else:
            values.fill_(mean)
        tensors[name] = values.bfloat16().cpu()
    return tensors


def write(folder, transformer, vae, seed, device="cpu"):
    """Files of both parts for modules of the authors' classes."""
    os.makedirs(folder, exist_ok=True)
    parts = {
        "infinity": dict(transformer.state_dict()),
        "vae": {
            name: tensor
            for name, tensor in vae.state_dict().items()
            if name.startswith("decoder.")
        },
    }
    for number, (part, tensors) in enumerate(parts.items()):
        path = os.path.join(folder, part + ".safetensors")
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        save_file(draw(shapes, seed + number, device), path + ".partial")
        os.replace(path + ".partial", path)
