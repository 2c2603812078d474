"""Stage relations: left, right, above and below.

The transformer stage leaves word order unlearned (right in half the pictures,
which is chance): which of two things stands where is one bit a picture, told
only by the order of words.  This stage adds the missing circuit directly, in
closed form, without a training step:

1. place_heads.py: a head of the text encoder marks the thing named first
   with its place.
2. place_attention.py: cross-attention prefers the text whose mark agrees with
   the token's own place.

Fitted on painted two-thing scenes.  Moving a latent by half its side exchanges
the two things, so that every scene exists in both orders and nothing but the
caption tells which.
"""
import os
import random

import torch

from . import captions, export, place_attention, place_heads
from .compositor import pack
from .scenes import Scene, SceneSampler
from .text_encoder import TextEncoder
from .tokenizer import Tokenizer
from .transformer import Infinity
from .vae import Encoder, Residual

FORCE = 1.2        # logit added where place and mark agree fully
FIT_SCALES = 6
SCENES, CAPTIONS = 192, 700


class Pairs:
    """Two-thing scenes: latents, and captions for either order."""

    def __init__(self, stage, seed):
        self.w = stage.world
        self.sampler = SceneSampler(stage.world, stage.meta, seed)
        self.rng = random.Random(seed)

    def scene(self, axis):
        where = 'left' if axis == 1 else 'above'
        s, rng = self.sampler, self.rng
        slugs = None
        while slugs is None:
            p = (s.slug(), s.slug())
            if rng.random() < .5:
                p = (rng.choice(s._common), rng.choice(s._common))
            if self.w.c(p[0]) != self.w.c(p[1]):
                slugs = p
        tinted = rng.random() < .15 and all(k in s._tintable for k in slugs)
        out = Scene()
        tints, colors = ((), ()), (None, None)
        if tinted:
            (ca, ta), (cb, tb) = (s.tint_color(k) for k in slugs)
            tints, colors = (ta, tb), (ca, cb)
        ra = s.row(slugs[0])
        rb = s.row(slugs[1], ra[1] if rng.random() < .8 else None)
        s._two(out, slugs, (ra[0], rb[0]), where, tints)
        back = s.back_color(out, [ra[0], rb[0]], tints, said=1)
        out.bottom = out.top          # so that halves can change places
        return out, (slugs, colors, back, axis)

    def caption(self, facts, swapped):
        """(text, [(words, place)]): place +1 left or top, -1 the other; None
        when the caption would name a held-out pair."""
        slugs, colors, back, axis = facts
        rng = self.rng
        first = rng.random() < .5                # which one is named first
        order = (0, 1) if first else (1, 0)
        a, b = (slugs[i] for i in order)
        if self.w.pair_held(a, b):
            order, a, b = order[::-1], b, a
            if self.w.pair_held(a, b):
                return None
        words = []
        for i in order:
            n, _, d = self.sampler.phrase(slugs[i])
            words.append((captions.a(colors[i]) + ' ' + n, colors[i] + ' ' + n)
                         if colors[i] else (captions.noun(d, n), n))
        low = (order[0] == 0) != swapped          # A is left or on top
        names = ('left', 'right') if axis == 1 else ('above', 'below')
        if axis == 1 and low and rng.random() < .15:
            text = captions.together(rng, words[0][0], words[1][0])
        else:
            text = captions.relation(rng, words[0][0], words[1][0],
                                     names[0] if low else names[1])
        text = captions.background(rng, text,
                                   back if rng.random() < .4 else None)
        sign = 1 if low else -1
        return (captions.finish(rng, text, None),
                [(words[0][1], sign), (words[1][1], -sign)])


def find(ids, part):
    for i in range(len(ids) - len(part) + 1):
        if ids[i:i + len(part)] == part:
            return range(i, i + len(part))
    return ()


class Texts:
    """Token ids, lengths and place marks [n, m, 2]."""

    def __init__(self, path, length):
        self.tok = Tokenizer(path, length)

    def batch(self, rows):
        ids, lengths = self.tok.batch([r[0] for r in rows])
        marks = torch.zeros(*ids.shape, 2)
        for i, (_, spans, axis) in enumerate(rows):
            row = ids[i].tolist()
            for words, sign in spans:
                for k in find(row, self.tok.sp.encode(words)):
                    marks[i, k, axis - 1] = sign
        return ids, lengths, marks


class Fit:
    """Pairs with latents, ready to fit on."""

    def __init__(self, stage):
        st, c = stage, stage.c
        self.pairs = Pairs(st, 71)
        self.texts = Texts(st.path('tokenizer.model'), c.text_train_length)
        enc, paint = Encoder(c).to(st.device), st.compositor()
        enc.load_state_dict(st.load('vae.pt')['encoder'])
        enc.eval()
        made = [self.pairs.scene(1 if i % 10 < 7 else 2)
                for i in range(SCENES)]
        self.facts = [m[1] for m in made]
        with torch.no_grad():
            self.z = torch.cat([enc(paint.paint(pack(
                [m[0] for m in made[k:k + 32]]))).cpu()
                for k in range(0, SCENES, 32)])

    def draw(self, n):
        """Rows (caption, spans, axis), and their latents."""
        rows, z = [], []
        while len(rows) < n:
            i = self.pairs.rng.randrange(len(self.facts))
            swapped = self.pairs.rng.random() < .5
            caption = self.pairs.caption(self.facts[i], swapped)
            if caption:
                axis = self.facts[i][3]
                rows.append((*caption, axis))
                half = self.z.shape[-1] // 2
                z.append(self.z[i].roll(half, 3 - axis) if swapped
                         else self.z[i])
        return rows, torch.stack(z)


def networks(stage):
    """Text encoder and transformer of the stage before, on the CPU."""
    c = stage.c
    if os.path.exists(stage.path('transformer.pt')):
        t5, model = TextEncoder(c), Infinity(c)
        nets = torch.load(stage.path('transformer.pt'), map_location='cpu',
                          weights_only=True)
        t5.load_state_dict(nets['text_encoder'])
        model.load_state_dict(nets['infinity'])
    else:
        gen = export.read_folder(stage.path('snapshot'), c)
        t5, model = gen.t5, gen.model
    for m in (t5, model):
        m.eval().requires_grad_(False)
    return t5, model


@torch.no_grad()
def run(stage):
    torch.manual_seed(8)
    c, fit = stage.c, Fit(stage)
    t5, model = networks(stage)
    general = SceneSampler(stage.world, stage.meta, 72)
    pairs, _ = fit.draw(CAPTIONS)
    ids, lengths = fit.texts.tok.batch(
        [r[0] for r in pairs] + [general.sample().caption
                                 for _ in range(CAPTIONS)])
    u = place_heads.add(t5, ids, lengths, fit.texts.tok.sp)
    ids, lengths, marks = fit.texts.batch(pairs)
    seen = torch.arange(ids.shape[1])[None] < lengths[:, None]
    r = place_attention.lead(model, t5, u, t5(ids, lengths), seen, marks)
    got = model.text(t5(ids, lengths), seen)[1] @ r
    told = (marks != 0) & ((got * marks).abs() > .3)
    stage.log('relations', marks_right=(
        (got * marks)[told] > 0).float().mean())
    rows, z = fit.draw(SCENES * 2 // 3)
    ids, lengths, _ = fit.texts.batch(rows)
    seen = torch.arange(ids.shape[1])[None] < lengths[:, None]
    _, nexts, _ = Residual(c).encode(z)
    scales = min(FIT_SCALES, len(c.scales))
    tokens = sum(k * k for k in c.scales[:scales])
    inputs = place_attention.observe(model, lambda: model(
        t5(ids, lengths), seen, nexts[:, :tokens - 1]))
    fits = place_attention.add(model, inputs, r, scales, FORCE)
    for l, (x, y) in enumerate(fits):
        stage.log('relations', block=l + 1, column=x, row=y)
    stage.save('relations.pt', {'text_encoder': t5.state_dict(),
                                'infinity': model.state_dict()})
    stage.log('relations', done=1)
