"""Stage judge: trains the judge on painted scenes (never generated ones)."""
import torch
import torch.nn.functional as F

from . import weights
from .feed import batches
from .judge import Judge, judge_loss
from .optimizer import Average, Clock


def spoil(x):
    """Random blur, noise and contrast, so that soft pictures read well."""
    n, size = len(x), x.shape[-1]
    pick = torch.rand(n, 1, 1, 1, device=x.device)
    soft = F.interpolate(F.avg_pool2d(x, 2), size=(size, size),
                         mode='bilinear', align_corners=False)
    mix = torch.rand(n, 1, 1, 1, device=x.device) * (pick < .6)
    x = x + (soft - x) * mix
    x = x + torch.randn_like(x) * .06 * (pick > .4) * torch.rand(
        n, 1, 1, 1, device=x.device)
    return x * (1 + .12 * (torch.rand(n, 1, 1, 1, device=x.device) - .5))


def run(stage):
    a, c, d = stage.args, stage.c, stage.device
    torch.manual_seed(2)
    paint = stage.compositor()
    judge = Judge(c, len(stage.world.classes)).to(d)
    if stage.cuda:
        judge.to(memory_format=torch.channels_last)
    params = list(judge.parameters())
    opt = torch.optim.AdamW(params, lr=2e-3, weight_decay=.05,
                            fused=stage.cuda)
    mean = Average([judge], .998)
    fast = torch.compile(judge, dynamic=False) if stage.compile else judge
    feed = batches(stage.sprites, stage.out, c, a.judge_batch, 31, a.workers,
                   False)
    clock, n, right = Clock(a.judge_seconds), 0, 0.0
    while clock.part() < 1:
        batch = next(feed)
        x = spoil(paint.paint(batch))
        labels = batch['labels'].to(d)
        with stage.autocast():
            out = fast(x)
        loss = judge_loss(out, labels)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 2.0)
        part = clock.part()
        for g in opt.param_groups:
            g['lr'] = 3e-3 * min(1, (n + 1) / 200) * max(.01, 1 - part)
        opt.step()
        mean.update()
        n += 1
        if n % (5 if a.tiny else 200) == 0:
            m = labels[:, 0] >= 0
            right = (out['thing'].argmax(1) == labels[:, 0])[m].float().mean()
            stage.log('judge', step=n, loss=loss.detach(), thing=right,
                      part=part)
        if n % 2000 == 0:
            write(stage, judge, mean)
    write(stage, judge, mean)
    stage.log('judge', done=1, step=n)


@torch.no_grad()
def write(stage, judge, mean):
    """Averages, with BatchNorm statistics of the live network."""
    mean.swap()
    weights.save({k: v for k, v in judge.state_dict().items()
                  if 'num_batches' not in k},
                 stage.path('judge.safetensors'), int8_over=4000)
    mean.swap()


def read(path, config, classes, device='cpu'):
    judge = Judge(config, classes)
    judge.load_state_dict(weights.load(path), strict=False)
    return judge.eval().requires_grad_(False).to(device)
