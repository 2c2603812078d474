"""Endless batches of packed scenes and token ids from worker processes."""
import os

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from .compositor import pack
from .scenes import SceneSampler
from .sprites import World
from .tokenizer import Tokenizer


class Scenes(IterableDataset):
    def __init__(self, sprites, out, config, batch, seed, texts=True):
        self.sprites, self.out, self.c = sprites, out, config
        self.batch, self.seed, self.texts = batch, seed, texts

    def __iter__(self):
        torch.set_num_threads(1)
        info = torch.utils.data.get_worker_info()
        worker = info.id if info else 0
        meta = np.load(os.path.join(self.out, 'atlas_meta.npz'))
        meta = {k: meta[k] for k in meta}
        sampler = SceneSampler(World(self.sprites), meta,
                               self.seed * 1000 + worker)
        tok = Tokenizer(os.path.join(self.out, 'tokenizer.model'),
                        self.c.text_train_length) if self.texts else None
        while True:
            scenes = [sampler.sample() for _ in range(self.batch)]
            out = pack(scenes)
            if tok:
                out['ids'], out['lengths'] = tok.batch(
                    [s.caption for s in scenes])
            yield out


def batches(sprites, out, config, batch, seed, workers, texts=True):
    data = Scenes(sprites, out, config, batch, seed, texts)
    return iter(DataLoader(data, batch_size=None, num_workers=workers,
                           prefetch_factor=4 if workers else None,
                           pin_memory=torch.cuda.is_available(),
                           persistent_workers=workers > 0))
