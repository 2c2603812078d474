"""python -m model.training.train --sprites DIR --out DIR [--stage NAME]

Stages: atlas (decode sprites, train the tokenizer), vae, judge, warm
(compiles the transformer's step and runs it), transformer, calibrate
(writes OUT/default), all.  Each stage writes its result atomically and is
skipped by `all` when its result is there.  With two GPUs `all` trains the
judge beside the picture tokenizer and splits the transformer's batches.
"""
import argparse
import os
import subprocess
import sys
import time

STAGES = ('atlas', 'vae', 'judge', 'warm', 'transformer', 'relations',
          'calibrate', 'all')
RESULTS = {'vae': 'vae.pt', 'judge': 'judge.safetensors',
           'transformer': 'transformer.pt', 'relations': 'relations.pt',
           'calibrate': 'evaluation.json'}


def arguments(argv=None):
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--sprites', required=True)
    p.add_argument('--out', required=True)
    p.add_argument('--stage', choices=STAGES, default='all')
    p.add_argument('--gpus', type=int, default=1)
    p.add_argument('--vae-seconds', type=float, default=290)
    p.add_argument('--judge-seconds', type=float, default=220)
    p.add_argument('--transformer-seconds', type=float, default=1050)
    p.add_argument('--batch', type=int, default=256, help='per GPU')
    p.add_argument('--vae-batch', type=int, default=64)
    p.add_argument('--judge-batch', type=int, default=256)
    p.add_argument('--workers', type=int, default=6, help='per process')
    p.add_argument('--rate', type=float, default=2e-3)
    p.add_argument('--notice', help='file to ship as NOTICE')
    p.add_argument('--resume', action='store_true',
                   help='start the transformer from its saved averages')
    p.add_argument('--compile', choices=('auto', 'on', 'off'),
                   default='auto', help='auto: on a GPU only')
    p.add_argument('--tiny', action='store_true')
    p.add_argument('--rank', type=int, default=0)
    p.add_argument('--gpu', type=int, default=0)
    return p.parse_args(argv)


def atlas(args):
    import numpy as np
    from . import config, sprites, tokenizer
    os.makedirs(args.out, exist_ok=True)
    world = sprites.build_atlas(args.sprites, args.out)
    path = os.path.join(args.out, 'tokenizer.model')
    if not os.path.exists(path):
        meta = np.load(os.path.join(args.out, 'atlas_meta.npz'))
        c = config.TINY if args.tiny else config.DEFAULT
        tokenizer.train(world, {k: meta[k] for k in meta}, args.sprites,
                        c.vocabulary, path)


def one(args):
    """Runs one stage in this process."""
    if args.stage == 'atlas':
        return atlas(args)
    import torch
    from . import calibrate, relations, train_judge
    from . import train_transformer, train_vae
    from .stages import Stage
    if args.stage == 'transformer' and args.gpus > 1:
        torch.cuda.set_device(args.gpu)
        torch.distributed.init_process_group(
            'nccl', init_method='file://' + os.path.abspath(
                os.path.join(args.out, 'meeting_point')),
            rank=args.rank, world_size=args.gpus,
            device_id=torch.device('cuda', args.gpu))
    stage = Stage(args, args.rank, args.gpu)
    if args.stage == 'vae':
        train_vae.run(stage)
    elif args.stage == 'judge':
        train_judge.run(stage)
    elif args.stage == 'relations':
        relations.run(stage)
    elif args.stage == 'calibrate':
        calibrate.run(stage)
    else:
        train_transformer.run(stage, args.stage == 'warm')
    sys.stdout.flush()
    os._exit(0)       # worker processes and NCCL need no farewell


def start(argv, stage, **extra):
    cmd = [sys.executable, '-m', 'model.training.train', *argv,
           '--stage', stage]
    for k, v in extra.items():
        cmd += ['--' + k, str(v)]
    return subprocess.Popen(cmd)


def wait(*jobs):
    for j in jobs:
        if j.wait():
            sys.exit(f'stage failed: {" ".join(j.args)}')


def everything(args, argv):
    t0 = time.time()
    have = lambda s: os.path.exists(os.path.join(args.out, RESULTS[s]))
    wait(start(argv, 'atlas'))
    two = args.gpus > 1
    first = []
    if not have('vae'):
        first.append(start(argv, 'vae', gpu=0))
    if not have('transformer') and not have('vae') and two:
        first.append(start(argv, 'warm', gpu=int(two)))
    if two and not have('judge'):
        first.append(start(argv, 'judge', gpu=1))
    wait(*first)
    if not have('judge'):
        wait(start(argv, 'judge'))
    print('first stages', round(time.time() - t0), flush=True)
    if not have('transformer') or args.resume:
        meet = os.path.join(args.out, 'meeting_point')
        if os.path.exists(meet):
            os.remove(meet)
        wait(*[start(argv, 'transformer', rank=r, gpu=r)
               for r in range(args.gpus)])
    if not have('relations'):
        wait(start(argv, 'relations'))
    if not have('calibrate'):
        wait(start(argv, 'calibrate'))
    print('all done', round(time.time() - t0), flush=True)


def main():
    args = arguments()
    if args.stage == 'all':
        argv, skip = [], False
        for a in sys.argv[1:]:
            if skip or a == '--stage':
                skip = a == '--stage'
                continue
            argv.append(a)
        everything(args, argv)
    else:
        one(args)


if __name__ == '__main__':
    main()
