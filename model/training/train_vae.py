"""Stage vae: trains the picture tokenizer on painted scenes."""
import torch
import torch.nn.functional as F

from .feed import batches
from .optimizer import Average, Clock
from .vae import Decoder, Encoder, Residual


def edges(x):
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def picture_loss(y, x):
    """L1 and L2 of pixels, of their differences, and of coarser versions."""
    loss = F.l1_loss(y, x) + 2 * F.mse_loss(y, x)
    for k in range(3):
        for a, b in zip(edges(y), edges(x)):
            loss = loss + .7 * F.l1_loss(a, b)
        y, x = F.avg_pool2d(y, 2), F.avg_pool2d(x, 2)
    return loss + F.l1_loss(y, x)


def run(stage):
    a, c, d = stage.args, stage.c, stage.device
    torch.manual_seed(1)
    paint = stage.compositor()
    enc, dec = Encoder(c).to(d), Decoder(c).to(d)
    if stage.cuda:
        enc.to(memory_format=torch.channels_last)
        dec.to(memory_format=torch.channels_last)
    quantiser = Residual(c)
    params = [*enc.parameters(), *dec.parameters()]
    opt = torch.optim.AdamW(params, lr=1e-3, betas=(.9, .98),
                            weight_decay=.01, fused=stage.cuda)
    mean = Average([enc, dec], .998)

    def step(x, noise):
        with stage.autocast():
            z = enc(x)
        _, _, total = quantiser.encode(z.detach(), noise)
        f = z + (total - z.detach())
        with stage.autocast():
            y = dec(f)
        y = y.float()
        commit = F.mse_loss(z, total)
        return picture_loss(y, x) + .3 * commit, y, commit
    fast = torch.compile(step, dynamic=False) if stage.compile else step
    feed = batches(stage.sprites, stage.out, c, a.vae_batch, 21, a.workers,
                   False)
    clock, n, seen = Clock(a.vae_seconds), 0, 0
    while clock.part() < 1:
        x = paint.paint(next(feed))
        noise = (torch.rand(len(x), 1, 1, 1, device=d) < .5).float() * (
            .04 * torch.rand(len(x), 1, 1, 1, device=d))
        loss, y, commit = fast(x, noise)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        if n == 2:
            stage.log('vae', warm=1)
        part = clock.part()
        rate = 1.2e-3 * min(1, (n + 1) / 100) * (
            1 if part < .4 else max(.01, (1 - part) / .6))
        for g in opt.param_groups:
            g['lr'] = rate
        opt.step()
        mean.update()
        n += 1
        seen += len(x)
        if n % (5 if a.tiny else 200) == 0:
            mse = F.mse_loss(y.detach().clamp(-1, 1), x) / 4
            stage.log('vae', step=n, seen=seen, loss=loss.detach(),
                      psnr=-10 * mse.log10(), commit=commit.detach(),
                      part=part)
        if n % 1000 == 0:
            write(stage, enc, dec, mean)
    write(stage, enc, dec, mean)
    stage.log('vae', done=1, step=n, seen=seen)
    check(stage, paint, enc, dec, mean, feed)


def write(stage, enc, dec, mean):
    mean.swap()
    stage.save('vae.pt', {'encoder': enc.state_dict(),
                          'decoder': dec.state_dict()})
    mean.swap()


@torch.no_grad()
def check(stage, paint, enc, dec, mean, feed):
    """PSNR of the averaged weights, and a picture of originals and copies."""
    from .sheet import save_sheet
    mean.swap()
    enc.eval(), dec.eval()
    x = paint.paint(next(feed))
    bits, _, total = Residual(stage.c).encode(enc(x))
    y = dec(total).clamp(-1, 1)
    mse = ((y - x) / 2).pow(2).mean((1, 2, 3))
    stage.log('vae', final_psnr=(-10 * mse.log10()).mean(),
              used=bits.float().mean((0, 1)).sub(.5).abs().max())
    pairs = torch.stack([x[:32], y[:32]], 1).flatten(0, 1)
    save_sheet(pairs, stage.path('vae_sheet.png'), 16)
