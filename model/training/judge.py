"""The judge: a small network that reads what a picture shows.

Trained on painted scenes only (never on generated pictures).  One shared
classifier of things looks at the whole picture, or at one half of it, so that
it can say what is on the left and what is on the right.
"""
import torch
import torch.nn.functional as F
from torch import nn

from .scenes import BACK_NAMES, NO_TINT

HALVES = ('left', 'right', 'top', 'bottom')


class Residual(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.a = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.b = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.na, self.nb = nn.BatchNorm2d(o), nn.BatchNorm2d(o)
        self.skip = nn.Conv2d(i, o, 1, bias=False)
        self.stride = stride

    def forward(self, x):
        y = self.nb(self.b(F.relu(self.na(self.a(x)))))
        s = F.avg_pool2d(x, 2) if self.stride == 2 else x
        return F.relu(y + self.skip(s))


class Judge(nn.Module):
    def __init__(self, c, classes):
        super().__init__()
        w = c.judge_widths
        self.stem = nn.Conv2d(3, w[0], 5, 2, 2)
        self.body = nn.ModuleList([
            Residual(w[0], w[1], 2), Residual(w[1], w[2], 2),
            Residual(w[2], w[2], 1), Residual(w[2], w[3], 2),
            Residual(w[3], w[3], 1)])
        self.thing = nn.Linear(w[3], classes)
        self.rest = nn.Linear(w[3] + w[2] + w[1], 6 + len(BACK_NAMES)
                              + NO_TINT + 1 + 3)

    def forward(self, x):
        """x [n, 3, h, w] in [-1, 1] -> dict of logits."""
        x = F.relu(self.stem(x))
        pooled = []
        for i, block in enumerate(self.body):
            x = block(x)
            if i in (0, 2):
                pooled.append(x.mean((2, 3)))
        whole = x.mean((2, 3))
        h = x.shape[-1] // 2
        out = {'thing': self.thing(whole)}
        for name, part in zip(HALVES, (x[..., :h], x[..., h:],
                                       x[..., :h, :], x[..., h:, :])):
            out[name] = self.thing(part.mean((2, 3)))
        r = self.rest(torch.cat([whole, *pooled], 1))
        out['count'], out['back'], out['tint'], out['axis'] = r.split(
            [6, len(BACK_NAMES), NO_TINT + 1, 3], 1)
        return out


def judge_loss(out, labels):
    """labels [n, 7] as packed by the compositor."""
    main, first, second, axis, count, back, tint = labels.unbind(1)

    def ce(logits, target, smooth=.05):
        return F.cross_entropy(logits.float(), target, ignore_index=-1,
                               label_smoothing=smooth,
                               reduction='sum') / max(len(target), 1)
    none = torch.full_like(first, -1)
    h, v = axis == 1, axis == 2
    loss = ce(out['thing'], main) + ce(out['axis'], axis)
    for name, target, on in (('left', first, h), ('right', second, h),
                             ('top', first, v), ('bottom', second, v)):
        loss = loss + ce(out[name], torch.where(on, target, none))
    loss = loss + ce(out['count'], torch.where(count > 0, count - 1, none))
    return loss + ce(out['back'], back, 0) + ce(out['tint'], tint)
