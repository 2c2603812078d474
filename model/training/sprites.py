"""The cut-out pictures: index, held-out rules, and the mip-mapped atlas.

The sprite folder (see README.md) holds index.json, held_out.json and one zip
of WebP files a style.  `World` knows names and splits and needs no picture;
`build_atlas` decodes the pictures once into a memory-mapped array.

Atlas row: uint8 [4, 192, 128] (premultiplied RGB and alpha): the sprite at 128
pixels, below it the 64 pixel version, and right of that the 32 pixel one, so
that the compositor can sample without aliasing.
"""
import concurrent.futures
import hashlib
import io
import json
import os
import zipfile

import numpy as np

GROUPS = {'animals-nature': .29, 'food-drink': .20, 'objects': .24,
          'travel-places': .19, 'activities': .08}
COMMON_WEIGHT = 5.0


def hashed_out(key, salt=''):
    """The rule of held_out.json: one key in ten, by SHA-1."""
    digest = hashlib.sha1((salt + key).encode()).hexdigest()[:8]
    return int(digest, 16) % 10 == 0


class World:
    """Countable things, their classes, styles and sampling weights."""

    def __init__(self, folder):
        with open(os.path.join(folder, 'index.json')) as f:
            index = json.load(f)
        with open(os.path.join(folder, 'held_out.json')) as f:
            held = json.load(f)
        self.sets = list(index['sets'])
        self.style_words = [index['sets'][s]['style'] for s in self.sets]
        self.files = [index['sets'][s]['file'] for s in self.sets]
        self.colors = {k: tuple(v) for k, v in held['colors'].items()}
        self.canon = held['canon']
        self.common = set(held['common'])
        self.info = {k: v for k, v in index['sprites'].items() if v['thing']}
        self.slugs = sorted(self.info)
        self.classes = sorted({self.c(s) for s in self.slugs})
        self.class_id = {c: i for i, c in enumerate(self.classes)}
        self.rows, self.train_rows, self.held_rows = [], {}, {}
        for slug in self.slugs:
            sets = self.info[slug]['sets']
            tiles = self.info[slug].get('tile', [])
            train, held_rows = [], []
            for i, name in enumerate(self.sets):
                if name not in sets or name in tiles:
                    continue
                out = len(sets) >= 3 and hashed_out(f'style:{slug}:{name}')
                (held_rows if out else train).append((len(self.rows), i))
                self.rows.append((slug, i))
            self.train_rows[slug], self.held_rows[slug] = train, held_rows
        self.usable = [s for s in self.slugs if self.train_rows[s]]
        self.weights = self._weights()
        self._name_owner = {}
        for slug in self.slugs:
            for phrase in self.phrases(slug):
                self._name_owner.setdefault(phrase[0], set()).add(self.c(slug))

    def c(self, slug):
        return self.canon.get(slug, slug)

    def phrases(self, slug):
        """All (name, plural or None, article) of a slug; the name first."""
        i = self.info[slug]
        return [(i['name'], i['plural'], i['det'])] + [
            tuple(a) for a in i['alias']]

    def unambiguous(self, name):
        """True when no other class is called the same."""
        return len(self._name_owner[name]) == 1

    def tint_held(self, color, slug):
        return hashed_out(f'color:{color}:{self.c(slug)}')

    def pair_held(self, a, b):
        a, b = self.c(a), self.c(b)
        return a in self.common and b in self.common and hashed_out(
            f'pair:{a}:{b}')

    def _weights(self):
        """Groups by share, classes evenly (common ones up), slugs evenly."""
        count = {}
        for s in self.usable:
            count[self.c(s)] = count.get(self.c(s), 0) + 1
        raw = np.array([(COMMON_WEIGHT if self.c(s) in self.common else 1.0)
                        / count[self.c(s)] for s in self.usable])
        group = np.array([self.info[s]['group'] for s in self.usable])
        out = np.zeros(len(raw))
        for name, share in GROUPS.items():
            m = group == name
            out[m] = raw[m] / raw[m].sum() * share
        return out / out.sum()


def _decode(job):
    path, names = job
    from PIL import Image
    out = []
    with zipfile.ZipFile(path) as z:
        for n in names:
            im = Image.open(io.BytesIO(z.read(n + '.webp'))).convert('RGBA')
            a = np.asarray(im, np.float32)
            a[..., :3] *= a[..., 3:] / 255.0
            half = a.reshape(64, 2, 64, 2, 4).mean((1, 3))
            quarter = half.reshape(32, 2, 32, 2, 4).mean((1, 3))
            t = np.zeros((192, 128, 4), np.float32)
            t[:128], t[128:, :64], t[128:160, 64:96] = a, half, quarter
            t = np.rint(t).astype(np.uint8).transpose(2, 0, 1)
            alpha = a[..., 3]
            ys, xs = np.where(alpha > 24)
            luma = (a[..., 0] * .3 + a[..., 1] * .59 + a[..., 2] * .11)
            total = max(alpha.sum() / 255.0, 1.0)
            rgb = a[..., :3].sum((0, 1)) / total
            box = (xs.min(), ys.min(), xs.max(), ys.max())
            out.append((t, box, luma.sum() / total / 255.0, rgb))
    return out


def build_atlas(folder, out, processes=None):
    """Writes out/atlas.npy and out/atlas_meta.npz once; returns the world."""
    world = World(folder)
    if os.path.exists(os.path.join(out, 'atlas_meta.npz')):
        return world
    jobs, order = [], []
    for s, name in enumerate(world.files):
        mine = [i for i, r in enumerate(world.rows) if r[1] == s]
        for k in range(0, len(mine), 60):
            part = mine[k:k + 60]
            jobs.append((os.path.join(folder, name),
                         [world.rows[i][0] for i in part]))
            order.append(part)
    n = len(world.rows)
    atlas = np.lib.format.open_memmap(
        os.path.join(out, 'atlas.npy'), 'w+', np.uint8, (n, 4, 192, 128))
    box = np.zeros((n, 4), np.int32)
    luma = np.zeros(n, np.float32)
    rgb = np.zeros((n, 3), np.float32)
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        for part, res in zip(order, pool.map(_decode, jobs)):
            for i, (t, b, m, c) in zip(part, res):
                atlas[i], box[i], luma[i], rgb[i] = t, b, m, c
    atlas.flush()
    tmp = os.path.join(out, 'atlas_meta.tmp.npz')
    np.savez(tmp, box=box, luma=luma, rgb=rgb)
    os.replace(tmp, os.path.join(out, 'atlas_meta.npz'))
    return world
