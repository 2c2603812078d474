"""Lets the authors' implementation run where its dependencies are not.

    install()                     before its first import
    redirect_autocast(device)     likewise
    round_as_a_gpu()              for runs on a CPU
    with single_precision_cross_attention(model):
                                  for a run in float32

What is replaced, from outside, is only what a forward pass needs and what does
not change its numbers: flash-attention's packed call, if it is not installed,
by torch's attention; timm's drop path, which does nothing outside training;
packages for logging, plotting and data sets by empty modules; torch.compile,
unless a run's speed matters, by nothing: the same operations, not fused.
"""

import contextlib
import importlib.machinery
import importlib.util
import sys
import types
from unittest import mock

import torch
import torch.nn.functional as F


_lengths = [None, None]


def _on_host(ends):
    """The sequences' ends, waiting for the device once for each tensor."""
    if _lengths[0] is not ends:
        _lengths[:] = [ends, ends.tolist()]
    return _lengths[1]


def _varlen_attention(
    q, kv, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0,
    softmax_scale=None, **_,
):
    """Attention of sequences packed one after the other, as flash_attn has it."""
    keys = _on_host(cu_seqlens_k)
    sequences = len(keys) - 1
    queries = q.view(sequences, max_seqlen_q, *q.shape[1:]).transpose(1, 2)
    outputs = []
    for i in range(sequences):
        k, v = kv[keys[i] : keys[i + 1]].unbind(1)
        outputs.append(
            F.scaled_dot_product_attention(
                queries[i], k.transpose(0, 1), v.transpose(0, 1), scale=softmax_scale
            ).transpose(0, 1)
        )
    return torch.cat(outputs)


def _attention(q, k, v, dropout_p=0.0, softmax_scale=None):
    raise NotImplementedError("the fused attention of training is not here")


def _rearrange(tensor, pattern, **_):
    """The two of einops' patterns that a forward pass needs."""
    if pattern == "... c d -> ... (c d)":
        return tensor.flatten(-2)
    if pattern == "b ... d -> b d ...":
        return tensor.movedim(-1, 1)
    raise NotImplementedError(f"'{pattern}' needs the package einops")


class _Nothing(torch.nn.Identity):
    def __init__(self, *_, **__):
        super().__init__()


def _module(name, **members):
    module = types.ModuleType(name)
    # torch's compiler asks what may be imported.
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    for key, value in members.items():
        setattr(module, key, value)
    return module


def _empty(name):
    """A module that has whatever is asked of it, and none of it works."""
    module = _module(name)
    module.__getattr__ = lambda key: (
        mock.MagicMock() if not key.startswith("__") else None
    )
    module.__path__ = []
    return module


def _install_if_missing(modules):
    if importlib.util.find_spec(next(iter(modules)).split(".")[0]) is None:
        sys.modules.update(modules)


def install(compiles=False):
    """`compiles`: leave torch.compile as it is."""
    _install_if_missing({
        "flash_attn": _module(
            "flash_attn",
            flash_attn_func=_attention,
            flash_attn_varlen_kvpacked_func=_varlen_attention,
        )
    })
    # These may be there in any version; what is done here needs none of them.
    sys.modules.update({
        "timm": _module("timm"),
        "timm.models": _module("timm.models", register_model=lambda f: f),
        "timm.models.layers": _module(
            "timm.models.layers", DropPath=_Nothing, drop_path=lambda x, *_: x
        ),
        "timm.loss": _module("timm.loss", SoftTargetCrossEntropy=_Nothing),
    })
    unused = lambda *_, **__: None
    _install_if_missing({
        "einops": _module(
            "einops", rearrange=_rearrange, reduce=unused, pack=unused,
            unpack=unused,
        )
    })
    _install_if_missing({"tqdm": _empty("tqdm")})
    _install_if_missing({name: _empty(name) for name in ("PIL", "PIL.Image")})
    for name in ("pytz", "imageio", "cv2", "pandas", "torchvision",
                 "torchvision.transforms"):
        sys.modules[name] = _empty(name)
    if not compiles:
        torch.compile = lambda function=None, **_: (
            function if callable(function) else lambda f: f
        )
    # Everything is loaded afterwards, so nothing needs to be drawn first.
    for name in ("kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_",
                 "trunc_normal_", "xavier_uniform_"):
        setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


def redirect_autocast(device):
    """Lets the code, which names 'cuda', switch autocast off on `device` too."""
    original = torch.amp.autocast

    def autocast(device_type="cuda", *args, **kwargs):
        return original(device, *args, **kwargs)

    torch.amp.autocast = autocast
    torch.cuda.amp.autocast = lambda enabled=True, dtype=torch.bfloat16, **_: (
        original(device, dtype=dtype, enabled=enabled)
    )


def _in_float32(function):
    def cast(value):
        return value.float() if torch.is_tensor(value) else value

    def wrapped(*args, **kwargs):
        return function(*map(cast, args),
                        **{key: cast(value) for key, value in kwargs.items()})

    return wrapped


def round_as_a_gpu():
    """On a CPU: norms in float32 under autocast, as a GPU's autocast has them.

    What is left of the difference to a GPU's bfloat16 is the order of sums.
    """
    for name in ("layer_norm", "group_norm", "normalize"):
        setattr(F, name, _in_float32(getattr(F, name)))


@contextlib.contextmanager
def single_precision_cross_attention(model):
    """Cross-attention that does not round its operands to bfloat16 on the way.

    The published implementation always rounds them, because flash-attention has
    no float32; without this there is no float32 run to compare with.
    """
    def forward(layer, queries, text):
        rows, cu_seqlens, longest = text
        bias = torch.cat((layer.zero_k_bias, layer.v_bias))
        packed = F.linear(rows, layer.mat_kv.weight, bias)
        packed = packed.view(len(rows), 2, layer.num_heads, layer.head_dim)
        sequences = len(cu_seqlens) - 1
        if layer.for_attn_pool:
            length = 1
            q = layer.mat_q.expand(sequences, -1, -1)
        else:
            length = queries.shape[1]
            q = layer.mat_q(queries).reshape(-1, layer.num_heads, layer.head_dim)
        attended = _varlen_attention(
            q, packed, None, cu_seqlens, length, longest, softmax_scale=layer.scale
        )
        return layer.proj(attended.reshape(sequences, length, -1))

    layers = [layer for layer in model.modules()
              if type(layer).__name__ == "CrossAttention"]
    for layer in layers:
        layer.forward = types.MethodType(forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
