"""Shows the whole path: starts a server on the embedded model, asks it for six
pictures through the `heatkv` client, writes them and a contact sheet, prints
what each cost, and stops the server.

    third_party/python/bin/python tools/demo.py --bin build/bin --out out/demo

Exits with 1, saying why, if anything fails.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

from PIL import Image, ImageDraw

from local_server import LocalServer

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIER = "standard"  # a budget of 10 %

# (prompt, seed); the first one is streamed with previews.
PICTURES = [
    ("a red apple on a blue background", 7),
    ("three cats on a green background", 7),
    ("an owl to the left of a guitar", 7),
    ("a purple fire engine", 7),
    ("a horse on grass under a blue sky", 7),
    ("two houses on a yellow background", 7),
]


def fail(message):
    sys.exit(f"demo: error: {message}")


def generate(programs, address, file, prompt, seed, previews):
    """Makes one picture; what the client says about it."""
    command = [
        programs / "heatkv", "generate", prompt, f"--seed={seed}",
        f"--tier={TIER}", f"--out={file}", f"--server={address}", "--json",
        "--quiet",
    ]
    if previews:
        command.append("--previews")
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        fail(f"\"{prompt}\": {result.stderr.strip()}")
    return json.loads(result.stdout)


def megabytes(count):
    return f"{count / 2**20:.2f} MiB"


def contact_sheet(pictures, out):
    """All pictures in two rows, with the prompt below each."""
    edge, text, gap = 256, 18, 8
    columns = (len(pictures) + 1) // 2
    sheet = Image.new(
        "RGB",
        (columns * (edge + gap) + gap, 2 * (edge + text + gap) + gap),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    for i, (file, prompt) in enumerate(pictures):
        x = gap + (i % columns) * (edge + gap)
        y = gap + (i // columns) * (edge + text + gap)
        with Image.open(file) as picture:
            sheet.paste(picture.resize((edge, edge), Image.Resampling.NEAREST), (x, y))
        draw.text((x, y + edge + 2), prompt, fill="black")
    sheet.save(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/bin")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "out/demo")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/default")
    flags = parser.parse_args()
    for program in ("heatkv_server", "heatkv"):
        if not (flags.bin / program).is_file():
            fail(f"{flags.bin / program} is not built: run make build")
    programs, out = flags.bin.resolve(), flags.out
    out.mkdir(parents=True, exist_ok=True)
    for old in list(out.glob("*.png")) + list(out.glob("*.jpg")):
        old.unlink()

    begin = time.monotonic()
    made = []
    with LocalServer(programs, [f"--model={flags.model.resolve()}"]) as server:
        print(f"server ready after {time.monotonic() - begin:.1f} s at {server.address}")
        print(
            f"{'prompt':<38}{'seconds':>8}{'cache at peak':>15}{'of full cache':>15}"
        )
        for i, (prompt, seed) in enumerate(PICTURES, 1):
            file = out / f"{i}-{prompt.replace(' ', '-')}.png"
            previews = i == 1
            answer = generate(programs, server.address, file, prompt, seed, previews)
            usage = answer["usage"]
            share = usage["peak_cache_bytes"] / usage["full_cache_bytes"]
            print(
                f"{prompt:<38}{usage['total_seconds']:>8.2f}"
                f"{megabytes(usage['peak_cache_bytes']):>15}{share:>14.1%}",
                flush=True,
            )
            if previews and not list(out.glob(f"{file.stem}.scale-*.jpg")):
                fail(f"{file.name} came without previews")
            made.append((file, prompt))
    sheet = out / "contact-sheet.png"
    contact_sheet(made, sheet)
    print(
        f"{len(made)} pictures under a budget of 10 %, previews of the first, and"
        f" {sheet.name} are in {out}"
    )


if __name__ == "__main__":
    main()
