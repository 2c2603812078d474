"""python -m model.training.evaluate {generate,score} ...

generate: pictures of the evaluation prompts from a model folder with the
  reference sampler on the CPU (float32), under a budget of the cache:
      ... generate --model models/default --out DIR --budget 0.1 [--limit N]
score: reads DIR/ID.png, asks the judge, prints JSON with the judge's
  accuracy on painted scenes of the same prompts (its ceiling) beside it:
      ... score --images DIR [--prompts FILE] [--json FILE]
"""
import argparse
import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))


def judge_path(name):
    return os.path.join(HERE, 'judge', name)


def read_json(path):
    with open(path, encoding='utf-8') as f:
        return json.load(f)


def rows_of(args):
    from . import prompts
    rows = prompts.read(args.prompts)
    return rows[::max(1, len(rows) // args.limit)] if args.limit else rows


def generate(args):
    import torch
    from PIL import Image
    from . import calibrate, config, export
    from .compositor import to_uint8
    from .tokenizer import Tokenizer
    c = config.DEFAULT
    gen = export.read_folder(args.model, c)
    prof = read_json(os.path.join(args.model, 'profile.json'))
    scores = {int(s): v for s, v in prof['scores'].items()}
    keep = calibrate.keep_of(c, scores, args.budget)
    tok = Tokenizer(os.path.join(args.model, 'tokenizer.model'),
                    c.text_max_length)
    os.makedirs(args.out, exist_ok=True)
    for r in rows_of(args):
        ids = torch.tensor([tok.ids(r['prompt'])])
        x = gen.pictures(ids, torch.tensor([ids.shape[1]]), r['seed'],
                         guidance=args.guidance, tau=args.tau, keep=keep)
        Image.fromarray(to_uint8(x)[0].numpy()).save(
            os.path.join(args.out, r['id'] + '.png'))


def pictures(rows, folder):
    """[n, 3, h, w] in [-1, 1]; a missing file is an error that names it."""
    import numpy as np
    import torch
    from PIL import Image
    out = []
    for r in rows:
        path = os.path.join(folder, r['id'] + '.png')
        if not os.path.exists(path):
            raise SystemExit(f'no picture {path} for prompt "{r["prompt"]}"')
        im = np.asarray(Image.open(path).convert('RGB'), np.float32)
        out.append(torch.from_numpy(im / 127.5 - 1).permute(2, 0, 1))
    return torch.stack(out)


def score(args):
    from . import config, scoring, train_judge
    classes = read_json(judge_path('classes.json'))
    judge = train_judge.read(judge_path('judge.safetensors'), config.DEFAULT,
                             len(classes))
    rows = rows_of(args)
    ids = {name: i for i, name in enumerate(classes)}
    marks = scoring.marks(
        scoring.answers(judge, pictures(rows, args.images)), rows, ids)
    mine = scoring.table(marks, rows)
    ceiling = read_json(judge_path('ceiling.json'))
    print(f'{"percent right":22}{"pictures":>10}{"ceiling":>10}'
          f'{"via codes":>11}')
    for k, v in mine.items():
        print(f'{k:22}{v:10.1f}{ceiling["real"].get(k, 0):10.1f}'
              f'{ceiling["real_through_codes"].get(k, 0):11.1f}')
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as f:
            json.dump({'pictures': len(rows), 'scores': mine,
                       'ceiling': ceiling}, f, indent=1)


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    sub = p.add_subparsers(dest='verb', required=True)
    g = sub.add_parser('generate')
    g.add_argument('--model', required=True)
    g.add_argument('--out', required=True)
    g.add_argument('--budget', type=float, default=.1)
    g.add_argument('--guidance', type=float, default=3.0)
    g.add_argument('--tau', type=float, default=.5)
    s = sub.add_parser('score')
    s.add_argument('--images', required=True)
    s.add_argument('--json')
    for q in (g, s):
        q.add_argument('--prompts', default=os.path.join(
            HERE, 'prompts', 'eval_500.jsonl'))
        q.add_argument('--limit', type=int, default=0)
    args = p.parse_args()
    generate(args) if args.verb == 'generate' else score(args)


if __name__ == '__main__':
    main()
