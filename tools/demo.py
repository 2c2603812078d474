"""Shows the whole path: starts a server on the embedded model, asks it for six
pictures through the `heatkv` client, writes them and a contact sheet, prints
what each cost, and stops the server.

    third_party/python/bin/python tools/demo.py --bin build/bin --out out/demo

Exits with 1, saying why, if anything fails.
"""

import argparse
import json
import pathlib
import re
import signal
import subprocess
import sys
import time

from PIL import Image, ImageDraw

ROOT = pathlib.Path(__file__).resolve().parent.parent
START_SECONDS = 120
STOP_SECONDS = 60

# (prompt, seed, tier, previews)
PICTURES = [
    ("a red apple on a blue background", 7, "standard", True),
    ("a small yellow star above a green tree", 11, "standard", False),
    ("two cats on a white background", 3, "standard", False),
    ("a blue car on a yellow background", 5, "high", False),
    ("a red apple on a blue background", 7, "full", False),
    ("a red apple on a blue background", 7, "economy", False),
]


def fail(message):
    sys.exit(f"demo: error: {message}")


class Server:
    """A heatkv_server on free ports; stopped on leaving."""

    def __init__(self, programs, model, out):
        self.port_file = out / "server.ports"
        self.port_file.unlink(missing_ok=True)
        self.log = out / "server.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [
                    programs / "heatkv_server", f"--model={model}",
                    "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
                    f"--port_file={self.port_file}",
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def __enter__(self):
        end = time.monotonic() + START_SECONDS
        while not self.port_file.exists():
            if self.process.poll() is not None:
                fail(f"the server did not start:\n{self.log.read_text()}")
            if time.monotonic() > end:
                self.process.kill()
                fail(f"the server was not ready after {START_SECONDS} s")
            time.sleep(0.05)
        port = re.search(r"grpc: (\d+)", self.port_file.read_text())[1]
        self.address = f"127.0.0.1:{port}"
        return self

    def __exit__(self, kind, value, trace):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            fail(f"the server did not stop within {STOP_SECONDS} s")
        if kind is None and code != 0:
            fail(f"the server ended with {code}:\n{self.log.read_text()}")


def generate(programs, address, file, prompt, seed, tier, previews):
    """Makes one picture; what the client says about it."""
    command = [
        programs / "heatkv", "generate", prompt, f"--seed={seed}",
        f"--tier={tier}", f"--out={file}", f"--server={address}", "--json",
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
    """All pictures in two rows, with tier and prompt below each."""
    edge, text, gap = 256, 32, 8
    columns = (len(pictures) + 1) // 2
    sheet = Image.new(
        "RGB",
        (columns * (edge + gap) + gap, 2 * (edge + text + gap) + gap),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    for i, (file, prompt, tier) in enumerate(pictures):
        x = gap + (i % columns) * (edge + gap)
        y = gap + (i // columns) * (edge + text + gap)
        with Image.open(file) as picture:
            sheet.paste(picture.resize((edge, edge), Image.Resampling.NEAREST), (x, y))
        draw.text((x, y + edge + 2), f"tier {tier}\n{prompt}", fill="black")
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
    with Server(programs, flags.model.resolve(), out) as server:
        print(f"server ready after {time.monotonic() - begin:.1f} s at {server.address}")
        print(
            f"{'file':<16}{'prompt':<42}{'tier':<10}{'seconds':>8}"
            f"{'cache at peak':>15}{'of full cache':>15}"
        )
        for i, (prompt, seed, tier, previews) in enumerate(PICTURES, 1):
            file = out / f"{i}-{tier}.png"
            answer = generate(
                programs, server.address, file, prompt, seed, tier, previews
            )
            usage = answer["usage"]
            share = usage["peak_cache_bytes"] / usage["full_cache_bytes"]
            print(
                f"{file.name:<16}{prompt:<42}{tier:<10}"
                f"{usage['total_seconds']:>8.2f}"
                f"{megabytes(usage['peak_cache_bytes']):>15}{share:>14.1%}",
                flush=True,
            )
            if previews and not list(out.glob(f"{file.stem}.scale-*.jpg")):
                fail(f"{file.name} came without previews")
            made.append((file, prompt, tier))
    sheet = out / "contact-sheet.png"
    contact_sheet(made, sheet)
    print(f"{len(made)} pictures, previews of the first and {sheet.name} are in {out}")


if __name__ == "__main__":
    main()
