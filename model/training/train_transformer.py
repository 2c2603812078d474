"""Stage transformer: the text encoder and the transformer, jointly.

One step: paint scenes, encode them to bits with random flips fed forward
(bitwise self-correction), predict all bits of all scales at once under a
block-causal mask.  Ten captions in a hundred are replaced by the learned
unconditional rows.  In the last part a share of the steps drops random
(layer, head, source scale) segments (heatkv.random_keep), so that pictures
survive a pruned cache.
"""
import os

import torch
import torch.distributed as dist

from . import export, heatkv
from .feed import batches
from .optimizer import Average, Clock, Muon, average, split
from .text_encoder import TextEncoder
from .transformer import Infinity, bit_loss
from .vae import Encoder, Residual

DROP_CAPTION = .1
PRUNE_FROM, PRUNE_SHARE = .35, .65
FLIP = .18


def scale_weights(c, device):
    """Token weights, sum 1: a scale of n tokens weighs sqrt(n)."""
    w = torch.cat([torch.full((n * n,), 1.0 / n) for n in c.scales])
    return (w / w.sum()).to(device)


class Trainer:
    def __init__(self, stage, warm=False):
        a, c, d = stage.args, stage.c, stage.device
        self.stage, self.c, self.d = stage, c, d
        torch.manual_seed(3)
        self.t5, self.model = TextEncoder(c).to(d), Infinity(c).to(d)
        self.encoder = Encoder(c).to(d)
        if not warm:
            self.encoder.load_state_dict(stage.load('vae.pt')['encoder'])
        self.encoder.eval().requires_grad_(False)
        if stage.cuda:
            self.encoder.to(memory_format=torch.channels_last)
        if a.resume and os.path.exists(stage.path('transformer.pt')):
            old = stage.load('transformer.pt')
            self.t5.load_state_dict(old['text_encoder'])
            self.model.load_state_dict(old['infinity'])
        self.quantiser = Residual(c)
        self.modules = [self.t5, self.model]
        inner, rest = split(self.modules)
        self.params = [p for p, _ in inner] + rest
        self.muon = Muon(inner)
        self.adam = torch.optim.AdamW(rest, lr=1e-3, betas=(.9, .98),
                                      weight_decay=0, fused=stage.cuda)
        self.mean = Average(self.modules, .9985)
        self.weights = scale_weights(c, d)
        self.dice = torch.Generator().manual_seed(5 + stage.rank)
        self.encode, self.loss = self.encode_scene, self.bits_loss
        if stage.compile:
            for b in self.model.blocks:
                b.compile(dynamic=False)
            for b in self.t5.encoder.block:
                b.compile(dynamic=False)
            self.encode = torch.compile(self.encode_scene, dynamic=False)
            self.loss = torch.compile(self.bits_loss, dynamic=False)

    def encode_scene(self, x, flip):
        with self.stage.autocast():
            z = self.encoder(x)
        bits, nexts, _ = self.quantiser.encode(z, flip)
        return bits, nexts

    def bits_loss(self, x, hs, ht, bits):
        with self.stage.autocast():
            lg = self.model.logits(x, hs, ht)
        return bit_loss(lg, bits, self.weights)

    def step(self, batch, x, keep):
        """Forward and backward; returns loss and bit losses of tokens."""
        n, d = len(x), self.d
        ids = batch['ids'].to(d, non_blocking=True)
        lengths = batch['lengths'].to(d, non_blocking=True)
        with torch.no_grad():
            flip = FLIP * torch.rand(n, 1, 1, 1, device=d) * (
                torch.rand(n, 1, 1, 1, device=d) < .8)
            bits, nexts = self.encode(x, flip)
        m = ids.shape[1]
        drop = torch.rand(n, device=d) < DROP_CAPTION
        lengths = torch.where(
            drop, torch.randint(3, m + 1, (n,), device=d), lengths)
        seen = torch.arange(m, device=d)[None] < lengths[:, None]
        with self.stage.autocast():
            feats = self.t5(ids, lengths)
            feats = torch.where(drop[:, None, None],
                                self.model.cfg_uncond[:m].to(feats.dtype),
                                feats)
            h, hs, ht = self.model(feats, seen, nexts, keep)
        loss, ce = self.loss(h, hs, ht, bits)
        loss.backward()
        return loss.detach(), ce.detach()

    def update(self, rate):
        average(self.params)
        self.muon.step(rate)
        for g in self.adam.param_groups:
            g['lr'] = rate * .7
        self.adam.step()
        self.mean.update()
        for p in self.params:
            p.grad = None

    def sync(self):
        if dist.is_initialized():
            for p in self.params:
                dist.broadcast(p.data, 0)

    def write(self):
        if self.stage.rank:
            return
        self.mean.swap()
        nets = {'text_encoder': self.t5.state_dict(),
                'infinity': self.model.state_dict()}
        self.stage.save('transformer.pt', nets)
        export.write_folder(
            self.stage.path('snapshot'), self.c, nets['infinity'],
            nets['text_encoder'], self.stage.load('vae.pt')['decoder'],
            self.stage.path('tokenizer.model'))
        self.mean.swap()

    def keep(self, part, force=None):
        prune = part > PRUNE_FROM and torch.rand(
            (), generator=self.dice).item() < PRUNE_SHARE
        if force if force is not None else prune:
            return heatkv.random_keep(self.c, self.dice).to(self.d)
        return None


def run(stage, warm=False):
    a, c = stage.args, stage.c
    t = Trainer(stage, warm)
    paint = stage.compositor()
    feed = batches(stage.sprites, stage.out, c, a.batch, 41 + stage.rank,
                   a.workers)
    clock, n, marks = Clock(a.transformer_seconds), 0, [.2, .5, .8]
    total = torch.zeros((), device=stage.device)
    stop = torch.zeros(1, device=stage.device)
    while True:
        batch = next(feed)
        part = clock.part()
        # Both kinds of step are met (and compiled) at once.
        keep = t.keep(part, {0: True, 1: False}.get(n))
        loss, ce = t.step(batch, paint.paint(batch), keep)
        rate = a.rate * min(1, (n + 1) / 150) * max(
            .01, min(1, (1 - part) / .65))
        t.update(rate)
        total += loss
        n += 1
        if warm and n >= 4:
            if stage.cuda:
                torch.cuda.synchronize()
            stage.log('warm', done=1, loss=loss)
            return
        if n % 50 == 0:
            clock.override(stage.path('transformer_seconds'))
        if n % 10 == 0 and dist.is_initialized():
            stop.fill_(float(part >= 1))
            dist.broadcast(stop, 0)
            if n % 500 == 0:
                t.sync()
        done = stop.item() if dist.is_initialized() and n % 10 == 0 else (
            part >= 1 and not dist.is_initialized())
        if n % (5 if a.tiny else 100) == 0:
            by = [ce[s:s + k * k].mean() for s, k in zip(c.starts, c.scales)]
            stage.log('transformer', step=n, loss=total / (
                5 if a.tiny else 100), last=loss, part=part, rate=rate,
                **{f's{k}': v for k, v in zip(c.scales, by)})
            total.zero_()
        if marks and part > marks[0]:
            marks.pop(0)
            t.write()
            if not stage.rank:
                preview(stage, t, n)
        if done:
            break
    t.write()
    if not stage.rank:
        preview(stage, t, n)
    stage.log('transformer', done=1, step=n, seen=n * a.batch * a.gpus)


PREVIEW = [
    'a red apple on a blue background', 'three cats on a green background',
    'an owl to the left of a guitar', 'a purple fire engine',
    'a dog', 'two houses on a yellow background', 'a blue dog',
    'a cat above a car', 'a rocket under a night sky',
    'a horse on grass under a blue sky', 'four balloons', 'a green bicycle',
    'a fish on a pink background', 'a penguin on snow', 'a pizza, flat style',
    'a guitar to the right of a drum']


@torch.no_grad()
def preview(stage, trainer, step):
    """A sheet of pictures from the averaged weights (eager, float32)."""
    from .sampling import Generator
    from .sheet import save_sheet
    from .tokenizer import Tokenizer
    from .vae import Decoder
    c, d = stage.c, stage.device
    decoder = Decoder(c).to(d)
    decoder.load_state_dict(stage.load('vae.pt')['decoder'])
    decoder.eval()
    t5, model = TextEncoder(c).to(d), Infinity(c).to(d)
    trainer.mean.swap()
    t5.load_state_dict(trainer.t5.state_dict())
    model.load_state_dict(trainer.model.state_dict())
    trainer.mean.swap()
    tok = Tokenizer(stage.path('tokenizer.model'), c.text_train_length)
    ids, lengths = tok.batch(PREVIEW * 3)
    x = Generator(c, t5, model, decoder).pictures(
        ids.to(d), lengths.to(d), 7, guidance=3.0, tau=.5)
    save_sheet(x, stage.path(f'preview_{step:06d}.png'), len(PREVIEW))
