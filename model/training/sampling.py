"""Generation with key/value caches, guidance, and a HeatKV schedule.

The spec's loop in float32 (spec 1.3, 4, 5).  Random numbers come from a torch
generator, so pictures differ from the server's for the same seed; the
distribution is the same.
"""
import torch
import torch.nn.functional as F

from . import ladder
from .transformer import plain_norm


class Generator:
    """Text encoder, transformer and decoder, ready to make pictures."""

    def __init__(self, config, text_encoder, model, decoder):
        self.c = config
        self.t5, self.model, self.decoder = text_encoder, model, decoder

    @torch.no_grad()
    def codes(self, ids, lengths, seed, guidance=3.0, tau=.5, top_p=.97,
              keep=None, mass=None):
        """ids [b, m] -> summed codes [b, bits, side, side].

        keep: bool [L, H, K, K] or None.  mass: float64 [L, H, K, K] to which
        the attention mass (target, source), mean over queries of the
        conditional rows, is added per picture.
        """
        c, model = self.c, self.model
        device = ids.device
        b = len(ids)
        feats = self.t5(ids, lengths).float()
        un = model.cfg_uncond[:ids.shape[1]].float()
        feats = torch.cat([feats, un[None].expand(b, -1, -1)])
        seen = torch.arange(ids.shape[1], device=device) < torch.cat(
            [lengths, lengths])[:, None]
        sos, rows, gss, hs, ht = model.text(feats, seen)
        text_mask = seen[:, None, None]
        rng = torch.Generator(device).manual_seed(seed)
        x = sos[:, None] + model.pos_start
        caches = [None] * c.depth
        total = torch.zeros(b, c.bits, c.latent, c.latent, device=device)
        of, start = model.of, 0
        for s, n in enumerate(c.scales):
            stop = start + n * n
            cos, sin = model.cos[start:stop], model.sin[start:stop]
            x = x + model.lvl_embed.weight[s]
            for l, block in enumerate(model.blocks):
                g1, g2, s1, s2, t1, t2 = (block.ada_gss + gss).unbind(2)
                q, k, v = block.sa.qkv(plain_norm(x) * (s1 + 1) + t1, cos,
                                       sin)
                if caches[l] is not None:
                    k = torch.cat([caches[l][0], k], 2)
                    v = torch.cat([caches[l][1], v], 2)
                caches[l] = (k, v)
                mask = None
                if keep is not None:
                    mask = keep[l, :, s].to(device)[:, of[:stop]][
                        None, :, None]
                o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask,
                                                   scale=1.0)
                if mass is not None:
                    p = (q[:b].float() @ k[:b].float().transpose(-1, -2)
                         ).softmax(-1).double().mean(2).sum(0)   # [H, keys]
                    for src in range(s + 1):
                        mass[l, :, s, src] += p[:, of[:stop] == src].sum(1)
                o = block.sa.proj(o.transpose(1, 2).flatten(2))
                x = x + o * g1
                x = x + block.ca(block.ca_norm(x), rows, text_mask)
                x = x + block.ffn(plain_norm(x) * (s2 + 1) + t2) * g2
            lg = model.logits(x, hs, ht) / tau
            lg = guidance * lg[:b] + (1 - guidance) * lg[b:]
            p = lg.unflatten(-1, (-1, 2)).softmax(-1)[..., 1]   # bit is 1
            p = torch.where(p <= 1 - top_p, torch.zeros_like(p), p)
            p = torch.where(1 - p <= 1 - top_p, torch.ones_like(p), p)
            bit = torch.rand(p.shape, generator=rng, device=device) < p
            code = torch.where(bit, c.code, -c.code).transpose(1, 2).reshape(
                b, c.bits, n, n)
            if n != c.latent:
                code = F.interpolate(code, size=(c.latent, c.latent),
                                     mode='bilinear', align_corners=False)
            total = total + code
            if s + 1 < len(c.scales):
                m = c.scales[s + 1]
                z = total if m == c.latent else F.interpolate(
                    total, size=(m, m), mode='bilinear', align_corners=False)
                x = model.word_embed(z.flatten(2).transpose(1, 2))
                x = torch.cat([x, x])
            start = stop
        return total

    @torch.no_grad()
    def pictures(self, ids, lengths, seed, batch=64, **options):
        """[n, 3, h, w] in [-1, 1], in batches."""
        out = []
        for k in range(0, len(ids), batch):
            z = self.codes(ids[k:k + batch], lengths[k:k + batch], seed + k,
                           **options)
            out.append(self.decoder(z).clamp(-1, 1))
        return torch.cat(out)
