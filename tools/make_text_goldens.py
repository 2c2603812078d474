#!/usr/bin/env python3
"""Makes tests/golden/text: a tiny SentencePiece model with the ids it gives,
and a tiny T5 encoder with the features it gives.

    python3 tools/make_text_goldens.py tests/golden/text

The truth is that of the packages sentencepiece, and transformers with torch.
"""
import argparse
import io
import json
import os

import sentencepiece
import torch
import transformers
from safetensors.torch import save_file

ADJECTIVES = ('red blue green small large old bright dark quiet wooden frozen '
              'golden striped sleepy distant').split()
NOUNS = ('fox boat lighthouse mountain river bicycle teapot castle whale '
         'garden window violin robot lantern cloud').split()
PLACES = ('at night|in the snow|by the sea|under a tree|on a table|at dawn|'
          'behind a hill|in a forest').split('|')
PROMPTS = ['', ' ', 'a red fox', 'A Red Fox', 'a  red   fox ',
           'two lighthouses at night, oil painting', 'frozen river; 35 mm!',
           'na\u00efve caf\u00e9', '\u72d0\u72f8', 'fox\nboat\ttea',
           '</s>', '<pad> <unk> fox', '\U0001f98a and a boat',
           'a ' * 40 + 'fox', 'antidisestablishmentarianism']


def corpus():
    for i in range(4000):
        yield 'a %s %s and a %s %s %s' % (
            ADJECTIVES[i % 15], NOUNS[i * 7 % 15], ADJECTIVES[i * 11 % 15],
            NOUNS[i // 15 % 15], PLACES[i // 3 % 8])


def write_tokenizer(path, eos):
    """T5's ids: padding 0, end of sequence 1, unknown 2, no beginning."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(), model_writer=model, vocab_size=150,
        model_type='unigram', pad_id=0, eos_id=eos, unk_id=3 - eos, bos_id=-1,
        # Any other rule stores its table, a quarter of a megabyte.
        normalization_rule_name='identity', hard_vocab_limit=False,
        num_threads=1, minloglevel=2)
    with open(path, 'wb') as file:
        file.write(model.getvalue())


def write_ids(folder):
    processor = sentencepiece.SentencePieceProcessor(
        model_file=os.path.join(folder, 'tokenizer.model'))
    goldens = [{'text': text, 'ids': processor.encode(text) + [1]}
               for text in PROMPTS]
    with open(os.path.join(folder, 'token_ids.json'), 'w') as file:
        json.dump(goldens, file, indent=1)
        file.write('\n')


def write_encoder(folder):
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=160, d_model=24, d_kv=8, num_heads=3, num_layers=2,
        d_ff=40, feed_forward_proj='gated-gelu', dropout_rate=0.0)
    model = transformers.T5EncoderModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'layer_norm' in name:
                parameter.add_(torch.randn_like(parameter) * .1)
            elif 'relative_attention_bias' in name:
                parameter.normal_()
        weights = {name: tensor.clone().contiguous()
                   for name, tensor in model.state_dict().items()
                   if name != 'encoder.embed_tokens.weight'}
        goldens = {}
        for tokens in (1, 9, 150):
            ids = torch.randint(0, 160, (1, tokens))
            features = model(ids).last_hidden_state[0]
            goldens['ids.%d' % tokens] = ids[0]
            goldens['features.%d' % tokens] = features.contiguous()
    save_file(weights, os.path.join(folder, 't5_weights.safetensors'))
    save_file(goldens, os.path.join(folder, 't5_features.safetensors'))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('folder')
    folder = parser.parse_args().folder
    os.makedirs(folder, exist_ok=True)
    write_tokenizer(os.path.join(folder, 'tokenizer.model'), eos=1)
    write_tokenizer(os.path.join(folder, 'eos_is_2.model'), eos=2)
    write_ids(folder)
    write_encoder(folder)


if __name__ == '__main__':
    main()
