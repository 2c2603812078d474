"""What every stage shares: its arguments, device, checkpoints and log."""
import json
import os
import time

import numpy as np
import torch

from . import config as configs
from .compositor import Compositor
from .sprites import World


class Stage:
    """Paths and tools of one process of one stage."""

    def __init__(self, args, rank=0, gpu=0):
        self.args, self.rank = args, rank
        self.c = configs.TINY if args.tiny else configs.DEFAULT
        self.out, self.sprites = args.out, args.sprites
        self.cuda = torch.cuda.is_available()
        self.device = torch.device(f'cuda:{gpu}' if self.cuda else 'cpu')
        if self.cuda:
            torch.cuda.set_device(self.device)
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
            torch.backends.cudnn.benchmark = True
        self.compile = args.compile == 'on' or (
            args.compile == 'auto' and self.cuda)
        torch._dynamo.config.cache_size_limit = 64
        self.world = World(self.sprites)
        meta = np.load(os.path.join(self.out, 'atlas_meta.npz'))
        self.meta = {k: meta[k] for k in meta}
        self.started = time.time()

    def compositor(self):
        return Compositor(os.path.join(self.out, 'atlas.npy'),
                          self.meta['luma'], self.device, self.c.pixels)

    def autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16,
                              enabled=self.cuda)

    def path(self, name):
        return os.path.join(self.out, name)

    def save(self, name, value):
        torch.save(value, self.path(name + '.tmp'))
        os.replace(self.path(name + '.tmp'), self.path(name))

    def load(self, name):
        return torch.load(self.path(name), map_location=self.device,
                          weights_only=True)

    def log(self, stage, **values):
        if self.rank:
            return
        row = {'stage': stage, 't': round(time.time() - self.started, 1)}
        row.update({k: round(float(v), 5) for k, v in values.items()})
        print(json.dumps(row), flush=True)
        with open(self.path('log.jsonl'), 'a') as f:
            f.write(json.dumps(row) + '\n')
