"""The fixed evaluation prompts with their ground truth, and real scenes of
the same contents (the judge's ceiling).

A row: id, prompt, seed, kind (object, background, count, position, tint),
held_out (the combination was never drawn in training), `thing` (class), and
by kind `back`, `count`, `tint`, or `left` and `right` (classes).
"""
import json
import random

from . import captions
from .scenes import BACK_NAMES, COLOR_NAMES

EACH = 100


def _fair(world, slug):
    i = world.info[slug]
    return world.unambiguous(i['name'])


def make(world):
    rng = random.Random(2026)
    fair = [s for s in world.usable if _fair(world, s)]
    common = [s for s in fair if s in world.common]
    rare = [s for s in fair if world.c(s) not in world.common]
    rows = []

    def phrase(slug):
        i = world.info[slug]
        return captions.noun(i['det'], i['name'])

    def add(kind, prompt, **truth):
        n = len(rows)
        rows.append({'id': f'{kind}_{n % EACH:03d}', 'prompt': prompt,
                     'seed': 1000 + n, 'kind': kind, **truth})

    picks = rng.sample(common, 50) + rng.sample(rare, 50)
    for s in picks:
        add('object', phrase(s), thing=world.c(s), slug=s, held_out=False)
    for k, s in enumerate(rng.sample(common, 50) + rng.sample(rare, 50)):
        b = BACK_NAMES[k % len(BACK_NAMES)]
        add('background', f'{phrase(s)} on {captions.a(b)} background',
            thing=world.c(s), slug=s, back=b, held_out=False)
    plural = [s for s in common if world.info[s]['plural']]
    other = [s for s in rare if world.info[s]['plural']]
    for k, s in enumerate(rng.sample(plural, 70) + rng.sample(other, 30)):
        n = 2 + k % 3
        add('count', f'{captions.NUMBERS[n]} {world.info[s]["plural"]}',
            thing=world.c(s), slug=s, count=n, held_out=False)
    for held in (False, True):
        k = 0
        while k < EACH // 2:
            a, b = rng.sample(common, 2)
            if world.c(a) == world.c(b) or world.pair_held(a, b) != held:
                continue
            where = ('left', 'right')[k % 2]
            l, r = (a, b) if where == 'left' else (b, a)
            add('position', f'{phrase(a)} to the {where} of {phrase(b)}',
                slugs=[a, b], where=where, left=world.c(l),
                right=world.c(r), held_out=held)
            k += 1
    tintable = [s for s in common if not world.info[s]['color']]
    for held in (False, True):
        k = 0
        while k < EACH // 2:
            s = rng.choice(tintable)
            color = COLOR_NAMES[k % len(COLOR_NAMES)]
            if world.tint_held(color, s) != held:
                continue
            add('tint', f'{captions.a(color)} {world.info[s]["name"]}',
                thing=world.c(s), slug=s, tint=color, held_out=held)
            k += 1
    return rows


def read(path):
    with open(path, encoding='utf-8') as f:
        return [json.loads(line) for line in f if line.strip()]


def write(rows, path):
    with open(path, 'w', encoding='utf-8') as f:
        for r in rows:
            f.write(json.dumps(r, ensure_ascii=False) + '\n')


def real_scene(sampler, row, held_style):
    """A painted scene that is what the prompt says."""
    kind, back = row['kind'], row.get('back')
    if kind in ('object', 'background'):
        return sampler.sample('single', slug=row['slug'], back=back,
                              held=held_style)
    if kind == 'count':
        return sampler.sample('count', slug=row['slug'], n=row['count'],
                              held=held_style)
    if kind == 'position':
        return sampler.sample('pair', slugs=tuple(row['slugs']),
                              where=row['where'], held=held_style)
    return sampler.sample('tint', slug=row['slug'], color=row['tint'],
                          held=held_style)
