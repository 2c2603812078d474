"""Draws scene specifications: what is where, and the true caption.

A `Scene` is plain numbers; the compositor turns many of them into pictures.
Held-out sprites, tints and pairs (sprites/held_out.json) are never drawn by a
training sampler; an evaluation passes `fixed` contents instead.
"""
import dataclasses
import random

import numpy as np

from . import captions
from .captions import BACKGROUNDS

MAX_OBJECTS = 6
KINDS = ('single', 'count', 'pair', 'tint', 'tint_pair', 'landscape')
SHARES = (.36, .15, .20, .13, .06, .10)
COLOR_NAMES = ('red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink',
               'brown', 'black', 'white')
BACK_NAMES = tuple(BACKGROUNDS)
NO_TINT = len(COLOR_NAMES)


@dataclasses.dataclass
class Object:
    row: int
    x: float
    y: float
    size: float      # pixels of the sprite's 128 pixel square on the canvas
    angle: float = 0.0
    flip: bool = False
    tint: tuple = ()  # RGB or empty


@dataclasses.dataclass
class Scene:
    """Pixels are those of a 128 pixel canvas; labels are -1 when unknown."""
    caption: str = ''
    objects: list = dataclasses.field(default_factory=list)
    top: tuple = (255, 255, 255)
    bottom: tuple = (255, 255, 255)
    ground: tuple = ()
    horizon: float = 128.0
    main: int = -1
    first: int = -1   # class of the left or upper object of two
    second: int = -1
    axis: int = 0     # 0 none, 1 side by side, 2 one above the other
    count: int = -1
    back: int = -1
    tint: int = -1


class SceneSampler:
    """Random scenes of a world.  Not thread safe: one a worker."""

    def __init__(self, world, meta, seed):
        self.w, self.rng = world, random.Random(seed)
        self.np = np.random.default_rng(seed)
        self.box, self.rgb = meta['box'], meta['rgb']
        self._slug_pool, self._common = [], sorted(
            world.common & set(world.usable))
        self._tintable = {s for s in world.usable
                          if not world.info[s]['color']}

    def slug(self):
        if not self._slug_pool:
            ids = self.np.choice(len(self.w.usable), 4096, p=self.w.weights)
            self._slug_pool = [self.w.usable[i] for i in ids]
        return self._slug_pool.pop()

    def phrase(self, slug):
        options = self.w.phrases(slug)
        if len(options) == 1 or self.rng.random() < .6:
            return options[0]
        return self.rng.choice(options[1:])

    def row(self, slug, style=None, held=False):
        rows = self.w.train_rows[slug]
        if held and self.w.held_rows[slug]:
            rows = self.w.held_rows[slug]
        if style is not None:
            for r in rows:
                if r[1] == style:
                    return r
        return self.rng.choice(rows)

    # -- scenery ---------------------------------------------------------
    def back_color(self, scene, rows, tints=(), name=None, said=.75):
        """Picks and paints a background; returns its name if it is said."""
        rng = self.rng
        means = [t if t else tuple(self.rgb[r])
                 for r, t in zip(rows, list(tints) or [()] * len(rows))]
        if name is None:
            for _ in range(8):
                name = rng.choice(BACK_NAMES)
                if rng.random() < .22:
                    name = rng.choice(('white', 'white', 'light blue'))
                c = BACKGROUNDS[name]
                if min(sum(abs(u - v) for u, v in zip(c, m))
                       for m in means) > 110:
                    break
        c = BACKGROUNDS[name]
        jitter = [rng.uniform(-6, 6) for _ in range(3)]
        base = tuple(min(255, max(0, v + j)) for v, j in zip(c, jitter))
        scene.top = scene.bottom = base
        if rng.random() < .25:
            d = rng.uniform(-22, 22)
            scene.top = tuple(min(255, max(0, v + d)) for v in base)
            scene.bottom = tuple(min(255, max(0, v - d)) for v in base)
        scene.back = BACK_NAMES.index(name)
        return name if rng.random() < said else None

    def place(self, slug, row, x, y, size, angle=4.0, tint=()):
        rng = self.rng
        flip = not self.w.info[slug]['upright'] and rng.random() < .25
        turn = rng.gauss(0, angle) if rng.random() < .5 else 0.0
        return Object(row, x, y, size, turn, flip, tint)

    def style_word(self, style, share=.22):
        return self.w.style_words[style] if self.rng.random() < share else None

    def tint_color(self, slug, name=None):
        """A colour name that is not held out for the thing, and its RGB."""
        rng = self.rng
        while name is None:
            n = rng.choice(COLOR_NAMES)
            if not self.w.tint_held(n, slug):
                name = n
        return name, tuple(min(255, max(0, v + rng.uniform(-8, 8)))
                           for v in self.w.colors[name])

    # -- scene kinds -----------------------------------------------------
    def sample(self, kind=None, **fixed):
        if kind is None:
            kind = self.rng.choices(KINDS, SHARES)[0]
        return getattr(self, '_' + kind)(**fixed)

    def _single(self, slug=None, back=None, held=False):
        rng, s = self.rng, Scene()
        slug = slug or self.slug()
        name, _, det = self.phrase(slug)
        row, style = self.row(slug, held=held)
        s.main, s.count, s.tint = self.w.class_id[self.w.c(slug)], 1, NO_TINT
        size = rng.uniform(78, 112)
        s.objects = [self.place(slug, row, 64 + rng.gauss(0, 4),
                                64 + rng.gauss(0, 4), size)]
        said = self.back_color(s, [row], name=back)
        text = captions.background(rng, captions.noun(det, name), said)
        s.caption = captions.finish(rng, text, self.style_word(style, .3))
        return s

    LAYOUTS = {
        2: [[(36, 64), (92, 64)]],
        3: [[(36, 40), (92, 40), (64, 92)], [(36, 90), (92, 90), (64, 38)],
            [(23, 64), (64, 64), (105, 64)]],
        4: [[(36, 36), (92, 36), (36, 92), (92, 92)]],
        5: [[(32, 34), (96, 34), (64, 64), (32, 96), (96, 96)]],
        6: [[(24, 40), (64, 40), (104, 40), (24, 90), (64, 90), (104, 90)]]}

    def _count(self, slug=None, n=None, back=None, held=False):
        rng, s = self.rng, Scene()
        while slug is None:
            k = self.slug()
            if any(p[1] for p in self.w.phrases(k)):
                slug = k
        plural = None
        while not plural:
            plural = self.phrase(slug)[1]
        n = n or rng.choices((2, 3, 4, 5, 6), (.29, .29, .24, .1, .08))[0]
        row, style = self.row(slug, held=held)
        spots = rng.choice(self.LAYOUTS[n])
        tight = n == 6 or len({p[1] for p in spots}) == 1 and n == 3
        size = rng.uniform(34, 40) if tight else (
            rng.uniform(40, 50) if n >= 4 else rng.uniform(44, 56))
        if n == 5:
            size = rng.uniform(36, 44)
        for x, y in spots:
            s.objects.append(self.place(
                slug, row, x + rng.gauss(0, 1.5), y + rng.gauss(0, 1.5),
                size * rng.uniform(.95, 1.05), 3.0))
        s.main, s.count, s.tint = self.w.class_id[self.w.c(slug)], n, NO_TINT
        said = self.back_color(s, [row], name=back, said=.65)
        text = captions.background(rng, captions.count(rng, n, plural), said)
        s.caption = captions.finish(rng, text, self.style_word(style, .12))
        return s

    def _two(self, s, slugs, rows, where, tints=((), ())):
        """Places A and B; where: of A seen from B."""
        rng = self.rng
        size = rng.uniform(46, 62)
        gap = rng.uniform(29, 33)
        sign = -1 if where in ('left', 'above') else 1
        for i, slug in enumerate(slugs):
            d = gap * (sign if i == 0 else -sign) + rng.gauss(0, 1.5)
            o = rng.gauss(0, 3)
            x, y = (64 + d, 64 + o) if where in ('left', 'right') else (
                64 + o, 64 + d)
            s.objects.append(self.place(
                slug, rows[i], x, y, size * rng.uniform(.92, 1.05), 3.0,
                tints[i]))
        ids = [self.w.class_id[self.w.c(k)] for k in slugs]
        s.first, s.second = ids if sign < 0 else ids[::-1]
        s.axis = 1 if where in ('left', 'right') else 2
        s.count = -1

    def _pair(self, slugs=None, where=None, back=None, held=False):
        rng, s = self.rng, Scene()
        while slugs is None:
            p = (self.slug(), self.slug())
            if rng.random() < .4:
                p = (rng.choice(self._common), rng.choice(self._common))
            if self.w.c(p[0]) != self.w.c(p[1]) and not self.w.pair_held(*p):
                slugs = p
        ra = self.row(slugs[0], held=held)
        rb = self.row(slugs[1], ra[1] if rng.random() < .8 else None)
        told = where is not None or rng.random() < .85
        where = where or rng.choices(('left', 'right', 'above', 'below'),
                                     (.33, .33, .17, .17))[0]
        if not told:
            where = rng.choices(('left', 'right'), (.8, .2))[0]
        self._two(s, slugs, (ra[0], rb[0]), where)
        said = self.back_color(s, [ra[0], rb[0]], name=back, said=.4)
        texts = []
        for k in slugs:
            n, _, d = self.phrase(k)
            texts.append(captions.noun(d, n))
        text = captions.relation(rng, *texts, where) if told else (
            captions.together(rng, *texts))
        text = captions.background(rng, text, said)
        s.caption = captions.finish(rng, text, self.style_word(ra[1], .1))
        return s

    def _tint_slug(self):
        while True:
            k = self.slug()
            if k in self._tintable:
                return k

    def _tint(self, slug=None, color=None, back=None, held=False):
        rng, s = self.rng, Scene()
        slug = slug or self._tint_slug()
        color, rgb = self.tint_color(slug, color)
        name = self.phrase(slug)[0]
        row, style = self.row(slug, held=held)
        s.main, s.count = self.w.class_id[self.w.c(slug)], 1
        s.tint = COLOR_NAMES.index(color)
        s.objects = [self.place(slug, row, 64 + rng.gauss(0, 4),
                                64 + rng.gauss(0, 4), rng.uniform(78, 112),
                                4.0, rgb)]
        said = self.back_color(s, [row], [rgb], name=back, said=.45)
        text = captions.background(
            rng, f'{captions.a(color)} {name}', said)
        s.caption = captions.finish(rng, text, self.style_word(style, .12))
        return s

    def _tint_pair(self):
        rng, s = self.rng, Scene()
        slugs = None
        while slugs is None:
            p = (self._tint_slug(), self._tint_slug())
            if self.w.c(p[0]) != self.w.c(p[1]) and not self.w.pair_held(*p):
                slugs = p
        (ca, ta), (cb, tb) = self.tint_color(slugs[0]), self.tint_color(
            slugs[1])
        ra = self.row(slugs[0])
        rb = self.row(slugs[1], ra[1] if rng.random() < .8 else None)
        told = rng.random() < .5
        where = rng.choice(('left', 'right')) if told else 'left'
        self._two(s, slugs, (ra[0], rb[0]), where, (ta, tb))
        said = self.back_color(s, [ra[0], rb[0]], [ta, tb], said=.3)
        texts = [f'{captions.a(c)} {self.phrase(k)[0]}'
                 for c, k in zip((ca, cb), slugs)]
        text = captions.relation(rng, *texts, where) if told else (
            captions.together(rng, *texts))
        text = captions.background(rng, text, said)
        s.caption = captions.finish(rng, text, None)
        return s

    EXTRAS = {'sun': ('the sun', 'a sun'), 'cloud': ('a cloud',),
              'crescent-moon': ('the moon', 'a crescent moon'),
              'deciduous-tree': ('a tree',)}

    def _landscape(self):
        rng, s = self.rng, Scene()
        slug = self.slug()
        name, _, det = self.phrase(slug)
        row, style = self.row(slug)
        sky = rng.choice(tuple(captions.SKIES))
        ground = rng.choice(tuple(captions.GROUNDS))
        s.top, s.bottom = captions.SKIES[sky]
        s.ground = captions.GROUNDS[ground]
        s.horizon = rng.uniform(78, 92)
        size = rng.uniform(62, 84)
        foot = (self.box[row][3] + 1) / 128.0 - .5
        extra = None
        if rng.random() < .45:
            key = rng.choice(('crescent-moon', 'cloud') if sky == 'night'
                             else ('sun', 'cloud', 'deciduous-tree'))
            if self.w.c(slug) != key:
                extra = rng.choice(self.EXTRAS[key])
                r = self.row(key, style)[0]
                side = rng.choice((-1, 1))
                y, z = rng.uniform(18, 26), rng.uniform(28, 36)
                if key == 'deciduous-tree':
                    z = rng.uniform(46, 58)
                    y = s.horizon + 8 - z * .47
                s.objects.append(Object(r, 64 + side * rng.uniform(40, 46),
                                        y, z))
        x = 64 + rng.gauss(0, 5)
        if extra:
            x -= side * 8
        y = s.horizon + rng.uniform(14, 26) - foot * size
        s.objects.append(self.place(slug, row, x, y, size, 0.0))
        s.main, s.tint = self.w.class_id[self.w.c(slug)], NO_TINT
        s.count = -1
        text = captions.landscape(rng, captions.noun(det, name), ground, sky,
                                  extra)
        s.caption = captions.finish(rng, text, self.style_word(style, .12))
        return s
