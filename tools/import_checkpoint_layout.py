"""Which tensors, of which shapes, the parts of a model folder must have.

One function a part turns model.yaml's numbers into {name: shape}; `match`
compares a checkpoint with that and reports every difference.
"""
import re

BLOCK = re.compile(r'(block_chunks\.(\d+)\.module\.(\d+)|blocks\.(\d+))\.')
# Buffers of zeros, masks, and networks that a server never runs.
UNUSED_TRANSFORMER = re.compile(r'.*\.zero_k_bias$')
UNUSED_VAE = re.compile(r'(quantizer|quantize|encoder)\.')
UNUSED_TEXT = re.compile(
    r'(decoder\..*|lm_head\..*|encoder\.embed_tokens\.weight)$')


class LayoutError(Exception):
    """A checkpoint of another form; the message lists the differences."""


def block_names(tensors):
    """Prefixes of the blocks that `tensors` name, in the order of layers."""
    found = {}
    for name in tensors:
        m = BLOCK.match(name)
        if m:
            place = (int(m[2]), int(m[3])) if m[2] else (0, int(m[4]))
            found[place] = m[1]
    return [found[place] for place in sorted(found)]


def transformer(spec, blocks):
    """`blocks`: as block_names gives them."""
    w, t, hidden = spec['width'], spec['text_width'], spec['mlp_width']
    bits = spec['bits'] * (4 if spec['patchify'] else 1)
    pool_heads = t // (64 if t > 4096 else 128)
    out = {'cfg_uncond': (spec['text_max_length'], t), 'pos_start': (1, 1, w),
           'text_norm.weight': (t,),
           'text_proj_for_sos.ca.mat_q': (1, pool_heads, w // pool_heads),
           'text_proj_for_sos.ca.v_bias': (w,),
           'text_proj_for_sos.ca.mat_kv.weight': (2 * w, t),
           'lvl_embed.weight': (spec['level_embeddings'], w)}

    def linear(name, outputs, inputs):
        out[name + '.weight'] = (outputs, inputs)
        out[name + '.bias'] = (outputs,)

    linear('text_proj_for_sos.ca.proj', w, w)
    linear('text_proj_for_ca.0', w, t)
    linear('text_proj_for_ca.2', w, w)
    linear('word_embed', w, bits)
    linear('shared_ada_lin.1', 6 * w, w)
    linear('head_nm.ada_lin.1', 2 * w, w)
    linear('head', 2 * bits, w)
    for block in blocks:
        out[block + '.ada_gss'] = (1, 1, 6, w)
        out[block + '.sa.scale_mul_1H11'] = (1, spec['heads'], 1, 1)
        for bias in ('sa.q_bias', 'sa.v_bias', 'ca.v_bias', 'ca_norm.weight',
                     'ca_norm.bias'):
            out[f'{block}.{bias}'] = (w,)
        out[block + '.sa.mat_qkv.weight'] = (3 * w, w)
        out[block + '.ca.mat_kv.weight'] = (2 * w, w)
        for name in ('sa.proj', 'ca.mat_q', 'ca.proj'):
            linear(f'{block}.{name}', w, w)
        linear(block + '.ffn.fc1', hidden, w)
        linear(block + '.ffn.fc2', w, hidden)
    return out


def vae_decoder(spec, bits):
    out = {}

    def conv(name, outputs, inputs, side):
        out[name + '.conv.weight'] = (outputs, inputs, side, side)
        out[name + '.conv.bias'] = (outputs,)

    def norm(name, channels):
        out[name + '.norm.weight'] = out[name + '.norm.bias'] = (channels,)

    def block(name, outputs, inputs):
        norm(name + '.norm1', inputs)
        conv(name + '.conv1', outputs, inputs, 3)
        norm(name + '.norm2', outputs)
        conv(name + '.conv2', outputs, outputs, 3)
        if inputs != outputs:
            conv(name + '.nin_shortcut', outputs, inputs, 1)

    widths = [spec['base_channels'] * m for m in spec['channel_multipliers']]
    channels = widths[-1]
    conv('decoder.conv_in', channels, bits, 3)
    block('decoder.mid.block_1', channels, channels)
    block('decoder.mid.block_2', channels, channels)
    for level in reversed(range(len(widths))):
        for i in range(spec['residual_blocks']):
            block(f'decoder.up.{level}.block.{i}', widths[level], channels)
            channels = widths[level]
        if level:
            conv(f'decoder.up.{level}.upsample.conv', channels, channels, 3)
    norm('decoder.norm_out', channels)
    conv('decoder.conv_out', 3, channels, 3)
    return out


def text_encoder(spec):
    w, inner = spec['width'], spec['heads'] * spec['head_width']
    first = 'encoder.block.0.layer.0.SelfAttention.relative_attention_bias'
    out = {'shared.weight': (spec['vocabulary'], w),
           first + '.weight': (spec['relative_buckets'], spec['heads']),
           'encoder.final_layer_norm.weight': (w,)}
    for i in range(spec['layers']):
        layer = f'encoder.block.{i}.layer.'
        for name in 'qkv':
            out[f'{layer}0.SelfAttention.{name}.weight'] = (inner, w)
        out[layer + '0.SelfAttention.o.weight'] = (w, inner)
        out[layer + '0.layer_norm.weight'] = (w,)
        out[layer + '1.layer_norm.weight'] = (w,)
        for name in ('wi_0', 'wi_1'):
            out[f'{layer}1.DenseReluDense.{name}.weight'] = (
                spec['mlp_width'], w)
        out[layer + '1.DenseReluDense.wo.weight'] = (w, spec['mlp_width'])
    return out


def wrapped_vae_names(tensors, expected):
    """Renames legacy VAE tensors, which lack the wrapper level."""
    legacy = {re.sub(r'\.(conv|norm)\.(weight|bias)$', r'.\2', name): name
              for name in expected}
    return {name if name in expected else legacy.get(name, name): tensor
            for name, tensor in tensors.items()}


def match(part, tensors, expected, unused):
    """The tensors of `expected`, in its order; LayoutError on any difference.

    Tensors are compared by name and shape; names that `unused` matches may
    be there and are dropped.  A query scale may have its heads in dimension 2.
    """
    problems = []
    for name, shape in expected.items():
        shapes = [shape]
        if name.endswith('scale_mul_1H11'):
            shapes.append((1, 1, shape[1], 1))
        if name not in tensors:
            problems.append(f"'{name}' of shape {list(shape)} is missing")
        elif tensors[name].shape not in shapes:
            problems.append(
                f"'{name}' in {tensors[name].source} has shape "
                f'{list(tensors[name].shape)}, expected '
                + ' or '.join(str(list(s)) for s in shapes))
        elif tensors[name].dtype not in ('F64', 'F32', 'F16', 'BF16'):
            problems.append(f"'{name}' in {tensors[name].source} has dtype "
                            f'{tensors[name].dtype}, expected a float')
    strangers = [f"'{name}' of shape {list(tensor.shape)} in "
                 f'{tensor.source} is not part of the model'
                 for name, tensor in tensors.items()
                 if name not in expected and not unused.match(name)]
    count = len(problems) + len(strangers)
    if count:
        shown = problems[:6] + strangers[:4]
        if count > len(shown):
            shown.append(f'and {count - len(shown)} more')
        raise LayoutError(f'{part}: {count} problem(s):\n  '
                          + '\n  '.join(shown))
    return {name: tensors[name] for name in expected}
