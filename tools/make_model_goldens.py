#!/usr/bin/env python3
"""Makes the model's goldens under tests/golden.

    make_model_goldens.py trim RECORDED OUT
    make_model_goldens.py vae OUT

`trim` copies what heatkv_parity --no-vae reads of a recorded run of the
authors' implementation, and leaves out the values inside the blocks.  `vae`
makes a tiny decoder with random weights and records what torch decodes with it
in float64.
"""
import argparse
import json
import math
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

META_KEYS = ('schedule', 'batch', 'text_lens', 'cfg', 'tau', 'top_k', 'top_p',
             'cfg_insertion_layer', 'seed', 'weight_seed', 'config', 'torch')
KEPT = ('exp_noise', 'bits', 'logits_raw', 'word_embed_in')
KEPT_WHOLE = ('text_features', 'text_norm', 'cond_BD', 'ca_kv', 'cond_gss',
              'summed_codes')


def trim(recorded, out):
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(recorded, 'meta.json')) as file:
        meta = json.load(file)
    with open(os.path.join(out, 'meta.json'), 'w') as file:
        json.dump({key: meta[key] for key in META_KEYS if key in meta}, file)
        file.write('\n')
    save_file(load_file(os.path.join(recorded, 'infinity.safetensors')),
              os.path.join(out, 'infinity.safetensors'))
    goldens = load_file(os.path.join(recorded, 'goldens.safetensors'))
    kept = {}
    for name, tensor in goldens.items():
        part = name.split('.')[-1]
        if name in KEPT_WHOLE or ('.' in name and part in KEPT):
            kept[name] = tensor.to(torch.uint8) if part == 'bits' else tensor
    save_file(kept, os.path.join(out, 'goldens.safetensors'))


class TinyDecoder:
    """Base 32, multipliers 1 and 2, one residual block a level, four bits."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)
        self.weights = {}
        self.conv('decoder.conv_in', 64, 4, 3)
        self.block('decoder.mid.block_1', 64, 64)
        self.block('decoder.mid.block_2', 64, 64)
        self.block('decoder.up.1.block.0', 64, 64)
        self.conv('decoder.up.1.upsample.conv', 64, 64, 3)
        self.block('decoder.up.0.block.0', 32, 64)
        self.norm('decoder.norm_out', 32)
        self.conv('decoder.conv_out', 3, 32, 3)

    def random(self, *shape):
        return torch.randn(*shape, generator=self.generator)

    def put(self, name, tensor):
        self.weights[name] = tensor.bfloat16()

    def conv(self, name, outputs, inputs, side):
        self.put(name + '.conv.weight',
                 self.random(outputs, inputs, side, side)
                 / math.sqrt(inputs * side * side))
        self.put(name + '.conv.bias', self.random(outputs) * .1)

    def norm(self, name, channels):
        self.put(name + '.norm.weight', 1 + self.random(channels) * .1)
        self.put(name + '.norm.bias', self.random(channels) * .1)

    def block(self, name, outputs, inputs):
        self.norm(name + '.norm1', inputs)
        self.conv(name + '.conv1', outputs, inputs, 3)
        self.norm(name + '.norm2', outputs)
        self.conv(name + '.conv2', outputs, outputs, 3)
        if inputs != outputs:
            self.conv(name + '.nin_shortcut', outputs, inputs, 1)

    def decode(self, codes):
        w = {name: tensor.double() for name, tensor in self.weights.items()}

        def conv(x, name):
            weight = w[name + '.conv.weight']
            return F.conv2d(x, weight, w[name + '.conv.bias'],
                            padding=weight.shape[-1] // 2)

        def activated(x, name):
            return F.silu(F.group_norm(x, 32, w[name + '.norm.weight'],
                                       w[name + '.norm.bias'], 1e-6))

        def block(x, name):
            y = conv(activated(x, name + '.norm1'), name + '.conv1')
            y = conv(activated(y, name + '.norm2'), name + '.conv2')
            if name + '.nin_shortcut.conv.weight' in w:
                x = conv(x, name + '.nin_shortcut')
            return x + y

        x = conv(codes.double(), 'decoder.conv_in')
        for name in ('mid.block_1', 'mid.block_2', 'up.1.block.0'):
            x = block(x, 'decoder.' + name)
        x = F.interpolate(x, scale_factor=2, mode='nearest')
        x = conv(x, 'decoder.up.1.upsample.conv')
        x = block(x, 'decoder.up.0.block.0')
        return conv(activated(x, 'decoder.norm_out'), 'decoder.conv_out')


def vae(out):
    os.makedirs(out, exist_ok=True)
    decoder = TinyDecoder()
    codes = decoder.random(1, 4, 3, 5)
    save_file(decoder.weights, os.path.join(out, 'vae.safetensors'))
    save_file({'codes': codes, 'decoded': decoder.decode(codes).float()},
              os.path.join(out, 'golden.safetensors'))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    command = commands.add_parser('trim')
    command.add_argument('recorded')
    command.add_argument('out')
    command = commands.add_parser('vae')
    command.add_argument('out')
    arguments = parser.parse_args()
    with torch.no_grad():
        if arguments.command == 'trim':
            trim(arguments.recorded, arguments.out)
        else:
            vae(arguments.out)


if __name__ == '__main__':
    main()
