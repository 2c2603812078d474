"""Scores pictures of the evaluation prompts with the judge.

thing: the named thing is the judge's first answer of all classes.
position: both things are, each in its half (strict); order: the half-picture
scores prefer the order asked for over its mirror image (chance is 50 %).
"""
import torch

from .scenes import BACK_NAMES, COLOR_NAMES


@torch.no_grad()
def answers(judge, pictures, batch=128):
    """pictures [n, 3, h, w] in [-1, 1] -> dict of logits on the CPU."""
    parts = [judge(pictures[k:k + batch].float())
             for k in range(0, len(pictures), batch)]
    return {k: torch.cat([p[k] for p in parts]).float().cpu()
            for k in parts[0]}


def marks(out, rows, class_id):
    """One dict of 0/1 marks a picture."""
    result = []
    for i, r in enumerate(rows):
        m = {}
        if 'thing' in r:
            m['thing'] = out['thing'][i].argmax() == class_id[r['thing']]
        if r['kind'] == 'background':
            m['background'] = (out['back'][i].argmax()
                               == BACK_NAMES.index(r['back']))
        if r['kind'] == 'count':
            m['count'] = out['count'][i].argmax() == r['count'] - 1
        if r['kind'] == 'tint':
            m['tint'] = (out['tint'][i].argmax()
                         == COLOR_NAMES.index(r['tint']))
        if r['kind'] == 'position':
            l, g = class_id[r['left']], class_id[r['right']]
            a, b = out['left'][i], out['right'][i]
            m['position'] = a.argmax() == l and b.argmax() == g
            m['order'] = a[l] + b[g] > a[g] + b[l]
        result.append({k: float(v) for k, v in m.items()})
    return result


def table(all_marks, rows):
    """Percentages: object (kind object), background, count, position, order,
    tint, thing (every prompt of one thing), and seen / held-out parts."""
    groups = {}

    def put(name, value):
        groups.setdefault(name, []).append(value)
    for m, r in zip(all_marks, rows):
        for k, v in m.items():
            if k == 'thing':
                put('thing_any_kind', v)
                if r['kind'] == 'object':
                    put('object', v)
            else:
                put(k, v)
                if k in ('position', 'order', 'tint'):
                    put(k + ('_held_out' if r['held_out'] else '_seen'), v)
    return {k: round(100 * sum(v) / len(v), 1)
            for k, v in sorted(groups.items())}
