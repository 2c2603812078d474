"""Enforces who may include whom (docs/design.md, "Layout").

    python3 tests/check_includes.py            check the tree
    python3 tests/check_includes.py --self-test

For every source file the rule of its folder lists the folders of ours and the
third-party libraries that it may see.  Headers are followed, so a library that
arrives through one of our own headers counts too; that is how a source file
that sees both torch and gRPC is caught (LibTorch ships its own copy of
protobuf's headers).
"""

import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Library -> what an include of it looks like.
LIBRARIES = {
    "torch": r"(ATen|c10|torch|caffe2)/",
    "grpc": r"(grpc|grpcpp|google)/|.*\.pb\.h$",
    "yaml": r"yaml-cpp/",
    "prometheus": r"prometheus/",
    "json": r"nlohmann/",
    "openssl": r"openssl/",
    "codec": r"(spng\.h|turbojpeg\.h|webp/)",
    "sentencepiece": r"sentencepiece",
    "cli": r"CLI/",
    "log": r"spdlog/",
    "cuda": r"(cuda|cublas|cudnn)",
    "test": r"(gtest|gmock)/",
    "threads": r"(thread|mutex|shared_mutex|condition_variable|future|atomic"
    r"|semaphore|stop_token|latch|barrier)$",
}

# Folder -> (folders of ours, libraries) that its files may see.  The longest
# folder that matches decides.  The standard library and Abseil are always
# allowed; "threads" only where named.
RULES = {
    "base": ({"base"}, set()),
    "cache": ({"base", "cache"}, set()),
    "model/api": ({"base", "cache", "model/api"}, set()),
    "model/kernels": ({"model/kernels"}, {"cuda"}),
    "model": (
        {"base", "cache", "model"},
        {"torch", "json", "sentencepiece", "openssl", "threads"},
    ),
    # The parity program is wiring: it also reads JSON.
    "calibration": ({"base", "cache", "calibration"}, {"json", "openssl"}),
    "server/engine": (
        {"base", "cache", "model/api", "server/engine"},
        {"threads"},
    ),
    "server/config": (
        {"base", "cache", "model/api", "server/engine", "server/config"},
        {"yaml", "threads"},
    ),
    "server/metrics": (
        {"base", "cache", "model/api", "server/engine", "server/metrics"},
        {"prometheus", "threads"},
    ),
    "server/codec": ({"base", "model/api", "server/codec"}, {"codec", "threads"}),
    "server/log": ({"base", "server/log"}, {"log", "threads"}),
    "server/rpc": (
        {
            "base",
            "cache",
            "model/api",
            "server/engine",
            "server/codec",
            "server/rpc",
        },
        {"grpc", "threads"},
    ),
    # Programs: wiring, everything but torch's headers.
    "server": (
        {"base", "cache", "calibration", "model", "server"},
        {"json", "threads", "log"},
    ),
    "client": (
        {
            "base",
            "cache",
            "calibration",
            "client",
            "model/api",
            "server/config",
            "server/engine",
        },
        {"grpc", "cli", "json", "threads"},
    ),
    "tests": (
        {
            "base",
            "bench",
            "cache",
            "calibration",
            "client",
            "model",
            "server",
            "tests",
        },
        set(LIBRARIES),
    ),
    "bench": (
        {"base", "cache", "calibration", "client", "model", "server", "bench"},
        set(LIBRARIES),
    ),
}

# Pairs that no source file may see together, whatever its folder.
NEVER_TOGETHER = [
    ("torch", "grpc"),
    ("torch", "yaml"),
    ("torch", "prometheus"),
    ("yaml", "prometheus"),
    ("yaml", "grpc"),
    ("prometheus", "grpc"),
]

SOURCES = (".h", ".cc", ".cu", ".cuh")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def folder_rule(path: str):
    best = ""
    for folder in RULES:
        if path.startswith(folder + "/") and len(folder) > len(best):
            best = folder
    return best


def library_of(include: str):
    for library, pattern in LIBRARIES.items():
        if re.match(pattern, include):
            return library
    return None


class Tree:
    """The files of a source tree and what each includes."""

    def __init__(self, root: pathlib.Path):
        self.includes = {}
        for folder in sorted({rule.split("/")[0] for rule in RULES}):
            for path in sorted((root / folder).rglob("*")):
                if path.suffix in SOURCES:
                    name = path.relative_to(root).as_posix()
                    text = path.read_text(encoding="utf-8")
                    self.includes[name] = INCLUDE.findall(text)

    def seen_by(self, name: str):
        """Libraries that `name` sees -> the chain of includes that leads there."""
        libraries, queue, visited = {}, [(name, [name])], {name}
        while queue:
            current, chain = queue.pop(0)
            for include in self.includes[current]:
                if include in self.includes:
                    if include not in visited:
                        visited.add(include)
                        queue.append((include, chain + [include]))
                    continue
                library = library_of(include)
                if library:
                    libraries.setdefault(library, chain + [f"<{include}>"])
        return libraries, visited - {name}


def violations(root: pathlib.Path):
    tree = Tree(root)
    found = []
    for name in tree.includes:
        folder = folder_rule(name)
        if not folder:
            found.append(f"{name}: no rule for this folder")
            continue
        ours, allowed = RULES[folder]
        libraries, headers = tree.seen_by(name)
        for header in sorted(tree.includes[name]):
            if header not in tree.includes:
                continue
            if not any(header.startswith(prefix + "/") for prefix in ours):
                found.append(f"{name}: {folder}/ may not include {header}")
        for library, chain in sorted(libraries.items()):
            # A folder may use a library inside its .cc files and headers of its
            # own; what its own dependencies' headers expose counts as well.
            if library not in allowed and library != "threads":
                found.append(
                    f"{name}: {folder}/ may not see {library}"
                    f" ({' -> '.join(chain)})"
                )
            if library == "threads" and library not in allowed and len(chain) == 2:
                found.append(f"{name}: {folder}/ may not use threads ({chain[-1]})")
        for first, second in NEVER_TOGETHER:
            if first in libraries and second in libraries:
                found.append(
                    f"{name}: sees both {first} ({' -> '.join(libraries[first])})"
                    f" and {second} ({' -> '.join(libraries[second])})"
                )
    return found


def self_test():
    """Each planted violation must be found, and a clean tree must pass."""
    cases = [
        ({"cache/a.h": '#include "absl/status/status.h"'}, None),
        ({"cache/a.h": "#include <ATen/ATen.h>"}, "may not see torch"),
        ({"cache/a.cc": "#include <mutex>"}, "may not use threads"),
        (
            {"model/a.h": "#include <ATen/ATen.h>", "cache/b.cc": '#include "model/a.h"'},
            "may not include model/a.h",
        ),
        (
            {
                "model/a.h": "#include <ATen/ATen.h>",
                "tests/b.cc": '#include "model/a.h"\n#include <grpcpp/grpcpp.h>',
            },
            "sees both torch",
        ),
        ({"server/engine/a.cc": "#include <yaml-cpp/yaml.h>"}, "may not see yaml"),
        ({"model/kernels/a.cu": "#include <torch/torch.h>"}, "may not see torch"),
    ]
    for files, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text + "\n")
            found = violations(root)
            if expected is None and found:
                sys.exit(f"self-test: clean tree {files} gave {found}")
            if expected and not any(expected in line for line in found):
                sys.exit(f"self-test: {files} gave {found}, wanted '{expected}'")
    print(f"self-test: {len(cases)} cases as expected")


def main():
    if "--self-test" in sys.argv:
        self_test()
        return
    found = violations(ROOT)
    for line in found:
        print(line)
    if found:
        sys.exit(f"{len(found)} includes that the layout forbids")
    print(f"{len(Tree(ROOT).includes)} files, every include is allowed")


if __name__ == "__main__":
    main()
