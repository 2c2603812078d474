#!/usr/bin/env python3
"""Runs the authors' implementation from a checkout and records what it does.

    parity_reference.py JOB.json

One process runs one checkout, because two of them have modules of the same
names.  JOB.json holds
  checkout   folder of FoundationVision/Infinity or arm-research/heatkv
  config     the model's shape (full_size_parity.py makes it)
  weights    folder with infinity.safetensors and vae.safetensors
  draw_weights  nothing, or the seed to make that folder from if it is not there
  device     "cuda" or "cpu"
  runs       a list, each with
    out        folder that receives the recorded run, which heatkv_parity reads
    precision  "bfloat16" or "float32"
    run        ladder, text lengths, guidance, tau, top_p, seed
    heatkv     nothing, or {"budget", "sink_scales", "orders"}
    forced     nothing, or a recorded run whose bits are fed on

Random numbers are drawn on the CPU, a generator for each scale, so that every
run of a job's seed has the same ones, whatever its device and precision.
"""

import contextlib
import fcntl
import functools
import json
import os
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import parity_shims
import parity_weights


def build_vae(config):
    from infinity.models.bsq_vae import vae as vae_module

    whole = vae_module.AutoEncoder

    def auto_encoder(args):
        args.base_ch = config["vae_base"]
        return whole(args)

    vae_module.AutoEncoder = auto_encoder
    # The finest level comes first; a level less is half the patch.
    multipliers = [1, 2, 4, 4] if config["patchify"] else [1, 2, 4, 4, 4]
    return vae_module.vae_model(
        {}, "dynamic", config["bits"], 2 ** config["bits"],
        patch_size=8 if config["patchify"] else 16,
        encoder_ch_mult=multipliers, decoder_ch_mult=multipliers, test_mode=True,
    )


def build_transformer(config, vae, schedule):
    from infinity.models import infinity as infinity_module

    if infinity_module.fused_ada_layer_norm is None:
        raise RuntimeError("the checkout's fused norm could not be imported: "
                           "without it, it computes wrong positions")
    return infinity_module.Infinity(
        vae_local=vae, text_channels=config["text_channels"],
        text_maxlen=config["text_maxlen"], shared_aln=True,
        raw_scale_schedule=schedule, checkpointing="full-block",
        customized_flash_attn=False, fused_norm=True, pad_to_multiplier=128,
        use_flex_attn=False, add_lvl_embeding_only_first_block=1,
        use_bit_label=1, rope2d_each_sa_layer=1, rope2d_normalized_by_hw=2,
        pn="1M", apply_spatial_patchify=int(config["patchify"]),
        inference_mode=True, train_h_div_w_list=[1.0], depth=config["depth"],
        embed_dim=config["embed_dim"], num_heads=config["num_heads"],
        drop_path_rate=0.1, mlp_ratio=4, block_chunks=config["block_chunks"],
    )


def load(module, path, device, prefix=""):
    tensors = load_file(path, device=device)
    missing, unexpected = torch.nn.Module.load_state_dict(
        module, tensors, strict=False)
    missing = [name for name in missing if name.startswith(prefix)]
    if missing or unexpected:
        raise RuntimeError(f"{path}: missing {missing[:3]}, not known "
                           f"{unexpected[:3]}")


def enable_heatkv(model, heatkv, schedule, reference_attention=True):
    """The authors' pruning, for the ladder of the run instead of 1:1 at 1M.

    `reference_attention`: by their functions in torch.  Their kernels are
    compiled anew for every layer and scale, which takes minutes.
    """
    if reference_attention:
        os.environ["REAL_PRUNING_SEGMENTED_TRITON_STATIC_COPY"] = "0"
    import enable_pruning
    import enable_real_pruning_fast as pruning
    import real_pruning_fused_attention as fused
    from tools import utils

    for module in (utils, enable_pruning, pruning):
        module.get_scale_schedule = lambda: list(schedule)
    if reference_attention:
        def attention(*, softmax_mode=None, **arguments):
            # Here it must come from the function that has no Triton.
            return fused._flat_segmented_attention_reference(**arguments)

        pruning.fused_real_pruning_flat_segmented_attention = attention
    sinks = heatkv["sink_scales"]
    orders = [[tuple(pair) for pair in order] for order in heatkv["orders"]]
    # Its interface wants lists for nine source scales, whatever the ladder.
    orders += [orders[-1]] * (9 - len(orders))
    return pruning.enable_real_pruning_scale_specific_fused_segmented(
        model, heatkv["budget"], orders, protected_prefix_scales=sinks,
        source_scale_start=sinks, requested_generation_batch_size=1)


class Recorder:
    """Takes the values of one run from outside, and puts its draws in."""

    def __init__(self, model, vae, seed):
        self.tensors = {}
        self.scale = 0
        self.seed = seed
        self.model, self.vae = model, vae
        self.batch = 0

    def put(self, name, tensor):
        self.tensors[name] = tensor.detach().float().cpu().contiguous()

    @contextlib.contextmanager
    def recording(self, batch):
        self.batch = batch
        get_logits, decode = self.model.get_logits, self.vae.decode
        multinomial = torch.multinomial
        self.model.get_logits = lambda *a: self.logits(get_logits(*a))
        self.vae.decode = lambda codes: self.decoded(codes, decode(codes))
        torch.multinomial = self.multinomial
        try:
            yield
        finally:
            self.model.get_logits, self.vae.decode = get_logits, decode
            torch.multinomial = multinomial

    def logits(self, logits):
        self.put(f"scale{self.scale:02d}.logits_raw", logits)
        return logits

    def multinomial(self, probabilities, num_samples, **_):
        """torch's law: the largest of probability / Exponential(1)."""
        generator = torch.Generator().manual_seed(self.seed * 64 + self.scale)
        draws = torch.empty(probabilities.shape).exponential_(generator=generator)
        race = probabilities.float() / draws.to(probabilities.device)
        bits = race.argmax(-1, keepdim=True)
        name = f"scale{self.scale:02d}."
        rows = self.tensors[name + "logits_raw"].shape[1]
        self.tensors[name + "exp_noise"] = draws.view(self.batch, rows, -1, 2)
        self.tensors[name + "bits"] = (
            bits.view(self.batch, rows, -1).to(torch.uint8).cpu().contiguous())
        self.scale += 1
        return bits

    def decoded(self, codes, pixels):
        self.put("summed_codes", codes)
        self.put("decoded", pixels)
        return pixels


def fed_bits(folder, run, patchify, device):
    """Bits of a recorded run, as the authors' gt_ls_Bl wants them."""
    recorded = load_file(os.path.join(folder, "goldens.safetensors"))
    fed = []
    for scale, (_, height, width) in enumerate(run["schedule"]):
        bits = recorded[f"scale{scale:02d}.bits"].long().to(device)
        bits = bits.view(len(bits), height, width, -1)
        if patchify:
            bits = F.pixel_shuffle(bits.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        fed.append(bits.unsqueeze(1))
    return fed, recorded


def text_features(run, width):
    generator = torch.Generator().manual_seed(run["seed"])
    return torch.randn(sum(run["text_lens"]), width, generator=generator) * 0.2


def generate(model, vae, config, run, device, fed=None):
    """The authors' own loop; pixels [1, height, width, 3], blue first."""
    schedule = [tuple(grid) for grid in run["schedule"]]
    lengths = run["text_lens"]
    features = text_features(run, config["text_channels"])
    ends = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    _, _, pixels = model.autoregressive_infer_cfg(
        vae=vae, scale_schedule=schedule,
        label_B_or_BLT=(features.to(device), lengths, ends.to(device),
                        max(lengths)),
        B=len(lengths), g_seed=0, cfg_list=run["cfg"], tau_list=run["tau"],
        top_k=900, top_p=run["top_p"], returns_vemb=1,
        cfg_insertion_layer=[0], vae_type=config["bits"], ret_img=True,
        gt_leak=len(schedule) if fed else 0, gt_ls_Bl=fed, inference_mode=True)
    return pixels


@contextlib.contextmanager
def precision_of(model, precision, device):
    """Blocks, products and cross-attention in bfloat16 or float32.

    The weights are values of bfloat16, so blocks lose nothing on the way.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if precision == "bfloat16":
            for block in model.unregistered_blocks:
                block.bfloat16()
            stack.enter_context(torch.autocast(device, dtype=torch.bfloat16))
        else:
            for block in model.unregistered_blocks:
                block.float()
            stack.enter_context(
                parity_shims.single_precision_cross_attention(model))
        torch.backends.cudnn.allow_tf32 = precision == "bfloat16"
        yield


def record(job, asked, model, vae):
    config, run, device = job["config"], asked["run"], job["device"]
    recorder = Recorder(model, vae, run["seed"])
    fed, recorded = None, None
    if asked.get("forced"):
        fed, recorded = fed_bits(asked["forced"], run, config["patchify"], device)
    begin = time.time()
    with (precision_of(model, asked["precision"], device),
          recorder.recording(len(run["text_lens"]))):
        pixels = generate(model, vae, config, run, device, fed)
    tensors = recorder.tensors
    if recorded:
        for scale in range(len(run["schedule"])):
            name = f"scale{scale:02d}."
            tensors[name + "fed_bits"] = recorded[name + "bits"]
    tensors["text_features"] = text_features(run, config["text_channels"])
    tensors["image_u8_bgr_hwc"] = pixels.cpu().contiguous()
    return tensors, time.time() - begin


def write(job, asked, tensors, seconds):
    out = asked["out"]
    os.makedirs(out, exist_ok=True)
    for part in ("infinity.safetensors", "vae.safetensors"):
        link = os.path.join(out, part)
        if os.path.lexists(link):
            os.remove(link)
        os.symlink(os.path.abspath(os.path.join(job["weights"], part)), link)
    save_file(tensors, os.path.join(out, "goldens.safetensors"))
    run = asked["run"]
    meta = {**run, "config": job["config"], "batch": len(run["text_lens"]),
            "dtype": asked["precision"], "device": job["device"],
            "torch": torch.__version__, "cfg_insertion_layer": [0],
            "seconds": seconds}
    if asked.get("heatkv"):
        meta["heatkv"] = asked["heatkv"]
    # Last: a folder with meta.json is complete.
    with open(os.path.join(out, "meta.json"), "w") as file:
        json.dump(meta, file)


def build(job):
    """The modules of the authors' classes, with no weights to speak of."""
    schedule = [tuple(grid) for grid in job["config"]["template"]]
    vae = build_vae(job["config"])
    model = build_transformer(job["config"], vae, schedule)
    return model, vae


def load_weights(job, model, vae):
    device = job["device"]
    model, vae = model.to(device).eval(), vae.to(device).eval()
    files = functools.partial(os.path.join, job["weights"])
    load(model, files("infinity.safetensors"), device)
    load(vae, files("vae.safetensors"), device, prefix="decoder.")
    model.requires_grad_(False)
    model.rng = torch.Generator(device)
    return model, vae


def make_weights(job, model, vae, say):
    """Draws them unless they are there, once if several processes ask."""
    os.makedirs(job["weights"], exist_ok=True)
    with open(os.path.join(job["weights"], "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(job["weights"], "vae.safetensors")):
            say("drawing weights")
            parity_weights.write(job["weights"], model, vae, job["draw_weights"],
                                 job["device"])


def run_all(job, say):
    device = job["device"]
    model, vae = build(job)
    if job.get("draw_weights") is not None:
        make_weights(job, model, vae, say)
    say("loading weights")
    model, vae = load_weights(job, model, vae)
    if device == "cpu":
        parity_shims.round_as_a_gpu()
    enabled = None
    for asked in job["runs"]:
        say(os.path.relpath(asked["out"], os.path.dirname(job["weights"])))
        if asked.get("heatkv") != enabled:
            enabled = asked["heatkv"]
            enable_heatkv(model, enabled, asked["run"]["schedule"])
        write(job, asked, *record(job, asked, model, vae))
        if device != "cpu":
            torch.cuda.empty_cache()


def main():
    begin = time.time()
    with open(sys.argv[1]) as file:
        job = json.load(file)
    sys.path.insert(0, os.path.abspath(job["checkout"]))
    parity_shims.install()
    parity_shims.redirect_autocast(job["device"])
    out, name = sys.stdout, os.path.basename(os.path.abspath(job["checkout"]))

    def say(what):
        out.write(f"  {time.time() - begin:6.1f} s  {name}: {what}\n")
        out.flush()

    # The authors' code tells what it builds; only progress belongs to stdout.
    with contextlib.redirect_stdout(sys.stderr):
        run_all(job, say)
        say("done")


if __name__ == "__main__":
    main()
