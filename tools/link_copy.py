"""Small copies of shared libraries that programs can be linked to, not run with.

A linker reads of a shared library its name, its dynamic symbols and their
versions, and nothing else.  write_link_copy() keeps just that: the copy of the
456 MB of libtorch_cuda.so has 5 MB.  It needs no other library either: what the
original is linked to is left out of the copy.  Symbols, sizes, types and
versions are the original's, so a program that calls what is not there, or
calls it with other arguments, fails to link as it would with the original.

Nothing here is ever loaded: the copy has no code and no program headers.
Uses the standard library alone; 64-bit little-endian ELF only.
"""

import pathlib
import struct

FILE_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
DYNAMIC = struct.Struct("<qQ")

NOBITS = 8
# SYMTAB and its names (for debuggers), RELA and NOTE are not among them.
KEPT_TYPES = {
    6,  # DYNAMIC
    11,  # DYNSYM
    0x6FFFFFFD,  # version definitions
    0x6FFFFFFE,  # version needs
    0x6FFFFFFF,  # version of each symbol
}
NEEDED, SONAME, STRING_TABLE, STRING_SIZE = 1, 14, 5, 10
KEPT_TAGS = (SONAME, STRING_TABLE, STRING_SIZE)


def own_entries(dynamic: bytes) -> bytes:
    """The dynamic section without what only a loader needs, as long as before."""
    kept = [
        DYNAMIC.pack(tag, value)
        for tag, value in DYNAMIC.iter_unpack(dynamic)
        if tag in KEPT_TAGS
    ]
    return b"".join(kept).ljust(len(dynamic), b"\0")


def link_copy(library: bytes) -> bytes:
    header = list(FILE_HEADER.unpack_from(library))
    identity = header[0]
    if identity[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    table, size, count, names = header[6], header[11], header[12], header[13]
    if size != SECTION.size:
        raise ValueError(f"a section header has {size} bytes, not {SECTION.size}")
    sections = [
        list(SECTION.unpack_from(library, table + size * i)) for i in range(count)
    ]
    # Names of the kept tables, and of the sections themselves.
    kept = {i for i, section in enumerate(sections) if section[1] in KEPT_TYPES}
    kept |= {sections[i][6] for i in kept if sections[i][1] != 0x6FFFFFFF}
    kept.add(names)
    out = bytearray(FILE_HEADER.size)
    for i, section in enumerate(sections):
        kind, offset, length = section[1], section[4], section[5]
        if i not in kept:
            # Symbols name their sections by number, so each keeps its header.
            if i > 0:
                section[1], section[4] = NOBITS, FILE_HEADER.size
            continue
        content = library[offset : offset + length]
        if kind == 6:
            content = own_entries(content)
        out += b"\0" * (-len(out) % 16)
        section[4] = len(out)
        out += content
    out += b"\0" * (-len(out) % 16)
    header[5], header[10] = 0, 0  # no program headers
    header[6] = len(out)
    for section in sections:
        out += SECTION.pack(*section)
    FILE_HEADER.pack_into(out, 0, *header)
    return bytes(out)


def write_link_copy(library: bytes, target: pathlib.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(link_copy(library))
