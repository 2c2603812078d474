"""Contact sheets: many pictures in one PNG."""
import torch

from .compositor import to_uint8


def save_sheet(x, path, columns):
    """x [n, 3, h, w] in [-1, 1]."""
    from PIL import Image
    b = to_uint8(x.float()).cpu()
    n, h, w, _ = b.shape
    rows = -(-n // columns)
    out = torch.full((rows * h, columns * w, 3), 255, dtype=torch.uint8)
    for i in range(n):
        r, c = divmod(i, columns)
        out[r * h:r * h + h, c * w:c * w + w] = b[i]
    Image.fromarray(out.numpy()).save(path)
