"""An attention head that says where a named thing stands.

Whether "left" means the first or the second thing depends on which side of
the word the name stands: a product that training finds slowly.  A T5 block
can say it directly: a head that looks only ahead (relative position bias),
with weights that fall with distance and no content query; its values are +1
at "left" and "above", -1 at "right" and "below".  So the thing named first is
marked with its place, and the other one is not, which tells them apart.

The head acts in the first block and writes to two directions of the residual
stream that features use least, one an axis.  Those directions are taken out
of everything else that reads or writes the stream, so the marks arrive at the
end unmixed and change nothing else.  Only shapes known to T5 are used: the
encoder simply has one head more.
"""
import torch

WORDS = {'left': (0, 1.), 'right': (0, -1.), 'above': (1, 1.),
         'top': (1, 1.), 'below': (1, -1.), 'under': (1, -1.),
         'bottom': (1, -1.)}
PLAIN = ('a an the of to on and in at background with against , . next style '
         'picture emoji clip art drawing illustration icon image red orange '
         'yellow green blue purple pink brown black white gray light dark '
         'beige two three four five six').split()


def rid(weight, directions):
    """weight [o, i] with directions [i, 2] taken out of its input."""
    q, _ = torch.linalg.qr(directions)
    weight.sub_((weight @ q) @ q.T)


def quiet_directions(t5, ids, lengths):
    """[width, 2]: least used by embeddings and by the last residual."""
    mask = torch.arange(ids.shape[1])[None] < lengths[:, None]
    seen = []
    hook = t5.encoder.final_layer_norm.register_forward_pre_hook(
        lambda m, a: seen.append(a[0]))
    t5(ids, lengths)
    hook.remove()
    total = 0
    for x in (seen[0][mask], t5.shared(ids)[mask], t5.shared.weight[259:]):
        x = x.double()
        total = total + x.T @ x / x.pow(2).sum()
    return torch.linalg.eigh(total)[1][:, :2].float()


def detector(t5, tokenizer):
    """[2, width]: linear readings of a normalised embedding that are +-1 at
    (the last piece of) the words above and near 0 at every other piece."""
    norm = t5.encoder.block[0].layer[0].layer_norm
    e = norm(t5.shared.weight.float()).double()
    goal = torch.zeros(len(e), 2, dtype=torch.float64)
    weight = torch.ones(len(e), dtype=torch.float64)
    weight[:259] = .01                          # bytes and marks
    for word in PLAIN:
        for i in tokenizer.encode(word):
            weight[i] = 40
    weight[1] = 40
    for word, (axis, sign) in WORDS.items():
        i = tokenizer.encode(word)[-1]
        goal[i, axis], weight[i] = sign, 400
    a = e * weight.sqrt()[:, None]
    b = goal * weight.sqrt()[:, None]
    eye = torch.eye(e.shape[1], dtype=torch.float64)
    return torch.linalg.solve(a.T @ a + .3 * eye, a.T @ b).T.float()


def resize(t5, heads):
    """More heads, doing nothing yet: all new weights are zero."""
    each, width = t5.c.text_head_width, t5.c.text_width
    for block in t5.encoder.block:
        att = block.layer[0].SelfAttention
        more = heads - att.heads
        for name in 'qkv':
            m = getattr(att, name)
            m.weight = torch.nn.Parameter(torch.cat(
                [m.weight, torch.zeros(more * each, width)]))
            m.out_features = len(m.weight)
        att.o.weight = torch.nn.Parameter(torch.cat(
            [att.o.weight, torch.zeros(width, more * each)], 1))
        att.o.in_features = att.o.weight.shape[1]
        att.heads, att.inner = heads, heads * each
    table = t5.encoder.block[0].layer[0].SelfAttention.relative_attention_bias
    table.weight = torch.nn.Parameter(torch.cat(
        [table.weight, torch.zeros(len(table.weight), more)], 1))
    table.embedding_dim = heads


@torch.no_grad()
def add(t5, ids, lengths, tokenizer, slope=.25, size=1.5):
    """Adds the head in place; returns the mark's directions in the last
    residual stream, [width, 2].  size: of a mark, in embedding lengths, if
    the head saw nothing but its word."""
    u = quiet_directions(t5, ids, lengths)
    rid(t5.shared.weight, u)
    for block in t5.encoder.block:
        att, ff = block.layer[0], block.layer[1]
        for part, names in ((att, 'qkv'), (ff, ('wi_0', 'wi_1'))):
            inner = part.SelfAttention if part is att else part.DenseReluDense
            seen = u * part.layer_norm.weight[:, None]
            for n in names:
                rid(getattr(inner, n).weight, seen)
        for w in (att.SelfAttention.o.weight, ff.DenseReluDense.wo.weight):
            w.sub_(u @ (u.T @ w))
    read = detector(t5, tokenizer)
    heads, each = t5.c.text_heads, t5.c.text_head_width
    resize(t5, heads + 1)
    att = t5.encoder.block[0].layer[0].SelfAttention
    half = each // 2
    length = size * t5.shared.weight[259:].norm(dim=1).mean()
    for axis in range(2):
        at = slice(heads * each + axis * half,
                   heads * each + (axis + 1) * half)
        att.v.weight[at] = read[axis]
        att.o.weight[:, at] = length / half * u[:, axis:axis + 1]
    table = att.relative_attention_bias
    buckets = t5.c.relative_buckets // 2
    table.weight[:, heads] = -30.0
    table.weight[buckets:, heads] = -slope * torch.arange(buckets).float()
    table.weight[0, heads] = -2.0               # itself: if nothing else
    return u
