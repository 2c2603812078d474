"""A link copy links what the library links, and nothing else."""
import subprocess

import pytest

from link_copy import link_copy, write_link_copy


def compile_shared(folder, name, source, *libraries):
    (folder / (name + ".cc")).write_text(source)
    library = folder / f"lib{name}.so"
    subprocess.run(["g++", "-shared", "-fPIC", f"-Wl,-soname,lib{name}.so", "-o",
                    library, folder / (name + ".cc"), *libraries], check=True)
    return library


def link(folder, source, library):
    (folder / "main.cc").write_text(source)
    return subprocess.run(
        ["g++", "-o", folder / "main", folder / "main.cc",
         "-Wl,--allow-shlib-undefined", library], capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    inner = compile_shared(tmp_path, "inner", "int inner() { return 2; }")
    whole = compile_shared(
        tmp_path, "outer", """
        int inner();
        int answer(int x) { return x + inner(); }
        char table[5000] = {1};
        const char rest[100000] = {1};
        const char* where() { return rest; }""", inner)
    inner.unlink()  # what the library is linked to need not be there
    target = tmp_path / "copies" / whole.name
    write_link_copy(whole.read_bytes(), target)
    assert target.stat().st_size < whole.stat().st_size / 10
    return target


def test_a_program_links_to_the_copy_and_needs_the_library_by_its_name(
        copy, tmp_path):
    done = link(tmp_path, "int answer(int); extern char table[5000];"
                "int main() { return answer(table[0]); }", copy)
    assert done.returncode == 0, done.stderr
    needed = subprocess.run(["readelf", "-d", tmp_path / "main"],
                            capture_output=True, text=True, check=True).stdout
    assert "[libouter.so]" in needed
    assert "libinner" not in needed


def test_a_call_with_other_arguments_does_not_link(copy, tmp_path):
    done = link(tmp_path, "int answer(long); int main() { return answer(1); }",
                copy)
    assert done.returncode != 0
    assert "answer(long)" in done.stderr


def test_what_is_no_shared_library_is_refused():
    with pytest.raises(ValueError, match="64-bit"):
        link_copy(b"no library, but as long as the header of one is, 64 bytes" * 2)
