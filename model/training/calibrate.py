"""Stage calibrate: S-CAS, guidance and tau, evaluation, model folder.

Everything is measured on the weights as shipped (8-bit), read back from the
written folder.  S-CAS follows design.md section 5: conditional branch, full
cache, own pictures with guidance, mean over queries and later scales.
"""
import hashlib
import json
import os

import torch

from . import export, heatkv, prompts, scoring, train_judge, train_transformer
from .compositor import pack
from .scenes import SceneSampler
from .sheet import save_sheet
from .tokenizer import Tokenizer
from .vae import Encoder, Residual

CALIBRATION_PROMPTS = 64
GRID = [(g, t) for t in (.3, .5, .8) for g in (2.0, 3.0, 4.5)]


@torch.no_grad()
def scas(gen, ids, lengths, seed, **options):
    """{source scale: [[score of head h] of layer l]}"""
    c = gen.c
    k = len(c.scales)
    mass = torch.zeros(c.depth, c.heads, k, k, dtype=torch.float64,
                       device=ids.device)
    gen.codes(ids, lengths, seed, mass=mass, **options)
    mass /= len(ids)
    return {s: mass[:, :, s + 1:, s].mean(2).cpu().tolist()
            for s in range(c.sink_scales, k - 1)}


def profile(c, scores, texts, weights_path):
    with open(weights_path, 'rb') as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    ranking = heatkv.rank(scores)
    return {
        'format': 'heatkv-profile-1', 'model_sha256': digest,
        'ladder': {'aspect': '1:1', 'pixel_class': str(c.pixels),
                   'scales': [[n, n] for n in c.scales]},
        'sink_scales': c.sink_scales, 'layers': c.depth, 'heads': c.heads,
        'prompts': len(texts),
        'prompts_sha256': hashlib.sha256(
            '\n'.join(texts).encode()).hexdigest(),
        'tool': 'model.training.calibrate 1',
        'scores': {str(s): v for s, v in scores.items()},
        'ranking': {str(s): [list(p) for p in v]
                    for s, v in ranking.items()}}


def keep_of(c, scores, budget):
    if budget >= 1:
        return None
    removed = heatkv.solve([n * n for n in c.scales], c.sink_scales, c.depth,
                           c.heads, heatkv.rank(scores), budget)
    return heatkv.keep_tensor(removed, c.depth, c.heads, len(c.scales))


class Bench:
    """The evaluation prompts on a device, with the judge."""

    def __init__(self, stage, gen):
        c, d = stage.c, stage.device
        self.stage, self.gen = stage, gen
        self.rows = prompts.make(stage.world)
        self.judge = train_judge.read(stage.path('judge.safetensors'), c,
                                      len(stage.world.classes), d)
        tok = Tokenizer(stage.path('tokenizer.model'), c.text_train_length)
        ids, lengths = tok.batch([r['prompt'] for r in self.rows])
        self.ids, self.lengths = ids.to(d), lengths.to(d)

    def score(self, x, rows=None):
        rows = rows or self.rows
        m = scoring.marks(scoring.answers(self.judge, x), rows,
                          self.stage.world.class_id)
        return scoring.table(m, rows)

    def run(self, seed, **options):
        x = self.gen.pictures(self.ids, self.lengths, seed, batch=125,
                              **options)
        return x, self.score(x)

    def ceiling(self):
        """Judge on painted scenes of the same prompts: training sprites,
        held-out sprites, and the former after a trip through the codes."""
        st, c = self.stage, self.stage.c
        paint, out = st.compositor(), {}
        for name, held in (('real', False), ('real_held_out_styles', True)):
            sampler = SceneSampler(st.world, st.meta, 977)
            scenes = [prompts.real_scene(sampler, r, held)
                      for r in self.rows]
            x = paint.paint(pack(scenes))
            out[name] = self.score(x)
            if not held:
                enc = Encoder(c).to(st.device)
                enc.load_state_dict(st.load('vae.pt')['encoder'])
                enc.eval()
                with torch.no_grad():
                    y = torch.cat([self.gen.decoder(Residual(c).encode(
                        enc(x[k:k + 64]))[2]).clamp(-1, 1)
                        for k in range(0, len(x), 64)])
                out['real_through_codes'] = self.score(y)
                mse = ((x - y) / 2).pow(2).mean((1, 2, 3))
                out['codes_psnr'] = round(
                    (-10 * mse.log10()).mean().item(), 2)
        return out


def total_score(t):
    return (t['object'] + t['background'] + t['count'] + t['position']
            + t['order'] * .5 + t['tint'] + t['thing_any_kind']) / 6.5


def psnr(x, y):
    mse = ((x - y) / 2).pow(2).mean((1, 2, 3)).clamp(min=1e-7)
    return (-10 * mse.log10()).mean().item()


def run(stage):
    c, d = stage.c, stage.device
    torch.backends.cuda.matmul.allow_tf32 = False
    nets = stage.load('relations.pt')
    decoder = stage.load('vae.pt')['decoder']
    folder = stage.path('default')

    def write(guidance, tau):
        export.write_folder(folder, c, nets['infinity'],
                            nets['text_encoder'], decoder,
                            stage.path('tokenizer.model'), guidance, tau,
                            stage.args.notice)
    write(3.0, .5)
    gen = export.read_folder(folder, c, d)
    sampler = SceneSampler(stage.world, stage.meta, 4242)
    texts = [sampler.sample().caption for _ in range(CALIBRATION_PROMPTS)]
    tok = Tokenizer(stage.path('tokenizer.model'), c.text_train_length)
    ids, lengths = (t.to(d) for t in tok.batch(texts))
    scores = scas(gen, ids, lengths, 99, guidance=3.0, tau=.5)
    bench = Bench(stage, gen)
    report = {'ceiling': bench.ceiling(), 'sweep': []}
    keep = keep_of(c, scores, .1)
    best = None
    for guidance, tau in GRID[:2] if stage.args.tiny else GRID:
        _, t = bench.run(5, guidance=guidance, tau=tau, keep=keep)
        report['sweep'].append({'guidance': guidance, 'tau': tau, **t})
        value = total_score(t)
        stage.log('sweep', guidance=guidance, tau=tau, score=value, **t)
        if best is None or value > best[0]:
            best = (value, guidance, tau)
    _, guidance, tau = best
    write(guidance, tau)
    scores = scas(gen, ids, lengths, 99, guidance=guidance, tau=tau)
    weights_path = os.path.join(folder, 'infinity.safetensors')
    with open(os.path.join(folder, 'profile.json'), 'w') as f:
        json.dump(profile(c, scores, texts, weights_path), f)
    with open(stage.path('calibration_64.txt'), 'w') as f:
        f.write('\n'.join(texts))
    prompts.write(bench.rows, stage.path('eval_500.jsonl'))
    with open(stage.path('ceiling.json'), 'w') as f:
        json.dump(report['ceiling'], f, indent=1)
    with open(stage.path('classes.json'), 'w') as f:
        json.dump(stage.world.classes, f)
    report.update(guidance=guidance, tau=tau)
    full = None
    demo_ids, demo_lengths = (t.to(d) for t in tok.batch(
        train_transformer.PREVIEW))
    sheets = []
    for name, budget in (('full', 1), ('20%', .2), ('10%', .1), ('8%', .08)):
        keep = keep_of(c, scores, budget)
        x, t = bench.run(77, guidance=guidance, tau=tau, keep=keep)
        full = x if full is None else full
        report[name] = {**t, 'psnr_to_full': round(psnr(x, full), 2)}
        stage.log('evaluate', budget=budget, **report[name])
        if budget in (1, .1):
            save_sheet(x[::5], stage.path(f'eval_{budget}.png'), 20)
            sheets += [gen.pictures(demo_ids, demo_lengths, s, keep=keep,
                                    guidance=guidance, tau=tau)
                       for s in (1, 2)]
    save_sheet(torch.cat(sheets), stage.path('demo.png'),
               len(train_transformer.PREVIEW))
    with open(stage.path('evaluation.json'), 'w') as f:
        json.dump(report, f, indent=1)
    stage.log('calibrate', done=1)
