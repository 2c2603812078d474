#!/usr/bin/env python3
"""Makes tests/golden/checkpoints: tiny checkpoints, saved by torch, in the
forms of the official ones.

    python3 tools/make_checkpoint_goldens.py tests/golden/checkpoints

Values follow a rule that a test can repeat: the i-th value of tensor NAME is
((7919 i + crc32(NAME)) mod 1013 - 506) / 512.
"""
import argparse
import json
import os
import sys
import zlib

import torch
import yaml
from safetensors.torch import save_file

import import_checkpoint_layout as layout

SPEC = """\
format: 1
name: tiny
description: A tiny model for tests
transformer:
  files: [infinity.safetensors]
  depth: 2
  width: 16
  heads: 2
  bits: 4
  patchify: false
  text_width: 128
  text_max_length: 8
  level_embeddings: 4
  mlp_width: 24
vae:
  files: [vae.safetensors]
  base_channels: 32
  channel_multipliers: [1, 1]
  residual_blocks: 1
text_encoder:
  files: [text_encoder.safetensors]
  vocabulary: 80
  width: 128
  head_width: 4
  heads: 2
  layers: 1
  mlp_width: 12
  relative_buckets: 32
  relative_max_distance: 128
tokenizer:
  file: tokenizer.model
  max_length: 8
sink_scales: 2
ladders:
  - aspect: "1:1"
    pixel_class: "8"
    rope_grid: [4, 4]
    scales: [[1, 1], [2, 2], [3, 3], [4, 4]]
defaults: {guidance: 3.0, tau: 0.5, top_p: 0.97}
"""


def value(name, shape):
    count = 1
    for side in shape:
        count *= side
    steps = torch.arange(count, dtype=torch.int64) * 7919
    steps = (steps + zlib.crc32(name.encode())) % 1013 - 506
    return (steps.float() / 512).reshape(shape)


def state(expected):
    return {name: value(name, shape) for name, shape in expected.items()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('folder')
    folder = parser.parse_args().folder
    path = lambda *names: os.path.join(folder, *names)
    for name in ('template', 'text', 'text_bin'):
        os.makedirs(path(name), exist_ok=True)
    with open(path('template', 'model.yaml'), 'w') as file:
        file.write(SPEC)
    spec = yaml.safe_load(SPEC)

    blocks = ['block_chunks.0.module.0', 'block_chunks.1.module.0']
    infinity = state(layout.transformer(spec['transformer'], blocks))
    infinity[blocks[0] + '.sa.zero_k_bias'] = torch.zeros(16)
    # As a view: strides that are not row-major, and an offset.
    key = blocks[1] + '.ffn.fc1.weight'
    stored = torch.zeros(17, 24)
    stored[1:] = infinity[key].t()
    infinity[key] = stored[1:].t()
    # As the trainer saves it, with objects that are no tensors beside it.
    torch.save({'args': argparse.Namespace(depth=2), 'iter': 7,
                'trainer': {'gpt_fsdp': infinity, 'config': {'x': [1]}}},
               path('infinity.pth'))

    vae = state(layout.vae_decoder(spec['vae'], bits=4))
    # Older names lack the wrapper level.
    vae['decoder.norm_out.weight'] = vae.pop('decoder.norm_out.norm.weight')
    vae = {name: tensor.half() for name, tensor in vae.items()}
    vae['encoder.conv_in.conv.weight'] = torch.zeros(2, 3, 1, 1)
    vae['quantizer.lfq.mask'] = torch.ones(4, dtype=torch.int64)
    torch.save({'vae': vae}, path('vae.pth'))

    text = state(layout.text_encoder(spec['text_encoder']))
    text['encoder.embed_tokens.weight'] = text['shared.weight']
    text['lm_head.weight'] = torch.zeros(2, 2)
    names = sorted(text)
    shards = {1: names[::2], 2: names[1::2]}
    for folder_name, stem, ending, save in (
            ('text', 'model', 'safetensors', save_file),
            ('text_bin', 'pytorch_model', 'bin', torch.save)):
        where = {}
        for number, members in shards.items():
            shard = f'{stem}-0000{number}-of-00002.{ending}'
            save({n: text[n].bfloat16() for n in members},
                 path(folder_name, shard))
            where.update((n, shard) for n in members)
        with open(path(folder_name, f'{stem}.{ending}.index.json'),
                  'w') as file:
            json.dump({'weight_map': where}, file)
    return 0


if __name__ == '__main__':
    sys.exit(main())
