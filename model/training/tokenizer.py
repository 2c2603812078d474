"""Trains the SentencePiece model on captions of the grammar.

Ids as in T5: pad 0, eos 1, unk 2, no bos; unigram with byte fallback; the
normaliser nmt_nfkc_cf folds case inside the model, so that a prompt may be
written in any case.
"""
import json
import os
import random

import sentencepiece

from . import captions
from .scenes import SceneSampler


def corpus(world, meta, sprites, lines=120000):
    """Captions, then every name, alias and tag."""
    sampler = SceneSampler(world, meta, 11)
    out = [sampler.sample().caption for _ in range(lines)]
    for slug in world.slugs:
        for name, plural, det in world.phrases(slug):
            for t in (name, plural, captions.noun(det, name)):
                if t:
                    out += [t] * 12
    with open(os.path.join(sprites, 'index.json')) as f:
        for info in json.load(f)['sprites'].values():
            out += info['tags'] * 3 + [info['name']] * 3
    out += [f'{a} {b}' for a in list(captions.BACKGROUNDS)
            for b in list(captions.BACKGROUNDS)]
    random.Random(0).shuffle(out)
    return out


def train(world, meta, sprites, vocabulary, path, lines=120000):
    """Writes PATH (a .model file)."""
    import io
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus(world, meta, sprites, lines)),
        model_writer=model, vocab_size=vocabulary, model_type='unigram',
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, byte_fallback=True,
        character_coverage=1.0, normalization_rule_name='nmt_nfkc_cf',
        hard_vocab_limit=True, num_threads=1, minloglevel=1)
    with open(path, 'wb') as f:
        f.write(model.getvalue())


class Tokenizer:
    """ids [n, length] padded with 0, and lengths, end mark included."""

    def __init__(self, path, length):
        self.sp = sentencepiece.SentencePieceProcessor(model_file=path)
        self.length = length

    def ids(self, text):
        return self.sp.encode(text)[:self.length - 1] + [1]

    def batch(self, texts):
        import torch
        rows = [self.ids(t) for t in texts]
        out = torch.zeros(len(rows), self.length, dtype=torch.long)
        for i, r in enumerate(rows):
            out[i, :len(r)] = torch.tensor(r)
        return out, torch.tensor([len(r) for r in rows])
