"""Writes a model folder: weights, model.yaml, tokenizer, NOTICE."""
import dataclasses
import os
import shutil

from . import weights

YAML = """\
format: 1
name: {name}
description: Small Infinity trained on composed scenes of emoji art, 128x128
transformer:
  files: [infinity.safetensors]
  depth: {depth}
  width: {width}
  heads: {heads}
  bits: {bits}
  patchify: false
  text_width: {text_width}
  text_max_length: {text_max_length}
  level_embeddings: {levels}
  mlp_width: {mlp_width}
vae:
  files: [vae.safetensors]
  base_channels: {vae_base}
  channel_multipliers: {multipliers}
  residual_blocks: {vae_blocks}
text_encoder:
  files: [text_encoder.safetensors]
  vocabulary: {vocabulary}
  width: {text_width}
  head_width: {text_head_width}
  heads: {text_heads}
  layers: {text_layers}
  mlp_width: {text_mlp}
  relative_buckets: {relative_buckets}
  relative_max_distance: {relative_max_distance}
tokenizer:
  file: tokenizer.model
  max_length: {text_max_length}
sink_scales: {sink_scales}
ladders:
  - aspect: "1:1"
    pixel_class: "{pixels}"
    rope_grid: [{latent}, {latent}]
    scales: {scales}
defaults: {{guidance: {guidance}, tau: {tau}, top_p: 0.97}}
profile: profile.json
"""


def text_heads(state):
    """Heads of a text encoder's state dict."""
    return state['encoder.block.0.layer.0.SelfAttention.'
                 'relative_attention_bias.weight'].shape[1]


def yaml_text(c, guidance, tau):
    fields = dict(c.__dict__)
    fields.update(levels=len(c.scales), latent=c.latent, guidance=guidance,
                  tau=tau, multipliers=list(c.vae_multipliers),
                  scales='[' + ', '.join(f'[{n}, {n}]' for n in c.scales)
                  + ']')
    return YAML.format(**fields)


def repeat_uncond(state, config):
    """Rows that training never showed repeat those that it did."""
    n = config.text_train_length
    rows = state['cfg_uncond'].clone()
    for i in range(n, len(rows)):
        rows[i] = rows[i - n + n // 2] if i - n + n // 2 < n else rows[i % n]
    state['cfg_uncond'] = rows
    return state


def write_folder(out, config, infinity, text_encoder, decoder, tokenizer,
                 guidance=3.0, tau=.5, notice=None):
    """State dicts in; tensor names become the official ones."""
    os.makedirs(out, exist_ok=True)
    weights.save(repeat_uncond(dict(infinity), config),
                 os.path.join(out, 'infinity.safetensors'))
    weights.save(text_encoder, os.path.join(out, 'text_encoder.safetensors'))
    weights.save({'decoder.' + k: v for k, v in decoder.items()},
                 os.path.join(out, 'vae.safetensors'))
    target = os.path.join(out, 'tokenizer.model')
    if os.path.abspath(tokenizer) != os.path.abspath(target):
        shutil.copyfile(tokenizer, target)
    with open(os.path.join(out, 'model.yaml'), 'w') as f:
        f.write(yaml_text(dataclasses.replace(
            config, text_heads=text_heads(text_encoder)), guidance, tau))
    if notice:
        shutil.copyfile(notice, os.path.join(out, 'NOTICE'))


def read_folder(folder, config, device='cpu'):
    """The three networks of a model folder, as a sampling.Generator."""
    from .sampling import Generator
    from .text_encoder import TextEncoder
    from .transformer import Infinity
    from .vae import Decoder
    load = lambda n: weights.load(os.path.join(folder, n + '.safetensors'))
    text = load('text_encoder')
    t5 = TextEncoder(dataclasses.replace(config, text_heads=text_heads(text)))
    model, decoder = Infinity(config), Decoder(config)
    t5.load_state_dict(text)
    model.load_state_dict(load('infinity'))
    decoder.load_state_dict({k.removeprefix('decoder.'): v
                             for k, v in load('vae').items()})
    for m in (t5, model, decoder):
        m.eval().requires_grad_(False).to(device)
    return Generator(config, t5, model, decoder)
