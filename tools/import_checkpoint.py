#!/usr/bin/env python3
"""Turns official checkpoints into a model folder that the server loads.

    python3 tools/import_checkpoint.py --model infinity-2b \\
        --transformer infinity_2b_reg.pth --vae infinity_vae_d32reg.pth \\
        --text_encoder flan-t5-xl --out models/my-infinity-2b

    python3 tools/import_checkpoint.py --model infinity-8b \\
        --transformer infinity_8b_weights --vae infinity_vae_d56_f8_14_patchify.pth \\
        --text_encoder flan-t5-xl --out models/my-infinity-8b

A checkpoint is a .pth, .bin or .safetensors file, or a folder of shards.  The
text encoder's folder also holds its SentencePiece model, spiece.model.  Every
tensor is checked by name and shape before anything is written.  Needs numpy
and PyYAML, no torch; memory stays small, whatever the checkpoint's size.
"""
import argparse
import json
import os
import shutil
import struct
import sys

import numpy as np
import yaml

import import_checkpoint_layout as layout
from import_checkpoint_tensors import CheckpointError, open_checkpoint

MODELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..',
                      'models')
DTYPES = {'f32': 'F32', 'f16': 'F16', 'bf16': 'BF16'}
BYTES = {'F32': 4, 'F16': 2, 'BF16': 2}
CHUNK = 1 << 24  # values converted at once


def to_float32(values, dtype):
    """A float array of a safetensors dtype as float32."""
    if dtype == 'BF16':
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def to_bfloat16(values):
    """float32 -> bits of the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    # Rounding could carry a NaN's mantissa into infinity.
    is_nan = np.isnan(values)
    return np.where(is_nan, ((bits >> 16) | 0x40).astype(np.uint16), rounded)


def converted(values, source, target):
    if source == target:
        return np.ascontiguousarray(values)
    wide = to_float32(np.ascontiguousarray(values), source)
    if target == 'BF16':
        return to_bfloat16(wide)
    if target == 'F16':
        with np.errstate(over='ignore'):
            narrow = wide.astype(np.float16)
        if not np.isfinite(narrow[np.isfinite(wide)]).all():
            raise CheckpointError('a value does not fit float16; use bf16')
        return narrow
    return wide


def chunks(tensor):
    """The tensor's values in order, in pieces of about CHUNK values."""
    array = tensor.array()
    if array.size <= CHUNK or array.ndim < 2:
        yield array
        return
    rows = max(1, CHUNK // (array.size // array.shape[0]))
    for begin in range(0, array.shape[0], rows):
        yield array[begin:begin + rows]


def write_safetensors(path, tensors, dtype_of, progress):
    """Streams {name: StoredTensor} to `path`, which appears when complete."""
    header, offset = {}, 0
    for name, tensor in tensors.items():
        dtype = dtype_of(name)
        size = int(np.prod(tensor.shape, dtype=np.int64)) * BYTES[dtype]
        header[name] = {'dtype': dtype, 'shape': list(tensor.shape),
                        'data_offsets': [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    partial = path + '.partial'
    try:
        with open(partial, 'wb') as file:
            file.write(struct.pack('<Q', len(text)))
            file.write(text)
            for name, tensor in tensors.items():
                for values in chunks(tensor):
                    try:
                        file.write(converted(values, tensor.dtype,
                                             dtype_of(name)).tobytes())
                    except CheckpointError as error:
                        raise CheckpointError(f"'{name}': {error}")
                progress(os.path.basename(path),
                         header[name]['data_offsets'][1], offset)
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


class Progress:
    """One line on standard error every tenth of a file."""

    def __init__(self):
        self.last = None

    def __call__(self, name, done, total):
        tenth = (name, 10 * done // total if total else 10)
        if tenth != self.last:
            self.last = tenth
            print(f'{name}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB',
                  file=sys.stderr)


def spiece_model(folder):
    for name in ('spiece.model', 'tokenizer.model'):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return path
    raise CheckpointError(f'{folder}: no spiece.model')


def run(arguments):
    template = os.path.join(
        arguments.template or os.path.join(MODELS, arguments.model),
        'model.yaml')
    if not os.path.exists(template):
        raise CheckpointError(f'{template}: no such file')
    with open(template) as file:
        spec = yaml.safe_load(file)
    parts = (spec['transformer'], spec['vae'], spec['text_encoder'])
    if any(len(part['files']) != 1 for part in parts):
        raise CheckpointError(f'{template}: a part has several files')

    transformer = open_checkpoint(arguments.transformer)
    blocks = layout.block_names(transformer)
    if len(blocks) != spec['transformer']['depth']:
        raise layout.LayoutError(
            f"{arguments.transformer}: {len(blocks)} blocks, expected "
            f"{spec['transformer']['depth']}")
    transformer = layout.match(
        'transformer', transformer,
        layout.transformer(spec['transformer'], blocks),
        layout.UNUSED_TRANSFORMER)
    vae_layout = layout.vae_decoder(spec['vae'], spec['transformer']['bits'])
    vae = layout.match(
        'vae', layout.wrapped_vae_names(open_checkpoint(arguments.vae),
                                        vae_layout),
        vae_layout, layout.UNUSED_VAE)
    text = layout.match('text encoder', open_checkpoint(arguments.text_encoder),
                        layout.text_encoder(spec['text_encoder']),
                        layout.UNUSED_TEXT)
    pieces = arguments.tokenizer or spiece_model(
        arguments.text_encoder if os.path.isdir(arguments.text_encoder)
        else os.path.dirname(os.path.abspath(arguments.text_encoder)))

    names = [part['files'][0] for part in parts]
    outputs = names + ['model.yaml', spec['tokenizer']['file']]
    os.makedirs(arguments.out, exist_ok=True)
    for name in outputs:
        path = os.path.join(arguments.out, name)
        if os.path.exists(path):
            raise CheckpointError(f'{path}: already there')
    block_dtype = DTYPES[arguments.block_dtype]
    text_dtype = DTYPES[arguments.text_dtype]
    progress = Progress()

    def transformer_dtype(name):
        return block_dtype if layout.BLOCK.match(name) else 'F32'

    for name, tensors, dtype_of in (
            (names[0], transformer, transformer_dtype),
            (names[1], vae, lambda _: 'F32'),
            (names[2], text, lambda _: text_dtype)):
        write_safetensors(os.path.join(arguments.out, name), tensors, dtype_of,
                          progress)
    shutil.copyfile(pieces,
                    os.path.join(arguments.out, spec['tokenizer']['file']))
    # Last: a folder without it is not taken for a model.
    shutil.copyfile(template, os.path.join(arguments.out, 'model.yaml'))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument('--model', choices=('infinity-2b', 'infinity-8b'))
    kind.add_argument('--template', metavar='FOLDER',
                      help='folder whose model.yaml describes another model')
    parser.add_argument('--transformer', required=True, metavar='PATH')
    parser.add_argument('--vae', required=True, metavar='PATH')
    parser.add_argument('--text_encoder', required=True, metavar='PATH')
    parser.add_argument('--tokenizer', metavar='FILE',
                        help='default: spiece.model of the text encoder')
    parser.add_argument('--out', required=True, metavar='FOLDER')
    parser.add_argument('--block_dtype', choices=DTYPES, default='bf16',
                        help="of the transformer's blocks (default: bf16, as "
                             'the authors run them); the rest is f32')
    parser.add_argument('--text_dtype', choices=DTYPES, default='f32')
    try:
        run(parser.parse_args())
    except (CheckpointError, layout.LayoutError, OSError) as error:
        print(f'import_checkpoint: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
