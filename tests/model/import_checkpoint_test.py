"""The import tool on tiny checkpoints that torch saved, and on broken ones.

Truths: the rule by which tools/make_checkpoint_goldens.py made the values, the
safetensors package as reader, and heatkv_parity for a whole transformer.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'import_checkpoint.py'
GOLDENS = ROOT / 'tests' / 'golden' / 'checkpoints'
PIECES = ROOT / 'tests' / 'golden' / 'text' / 'tokenizer.model'
sys.path.insert(0, str(ROOT / 'tools'))

import import_checkpoint  # noqa: E402
import import_checkpoint_tensors as tensors  # noqa: E402


def value(name, shape):
    count = int(np.prod(shape, dtype=np.int64))
    steps = (np.arange(count, dtype=np.int64) * 7919
             + zlib.crc32(name.encode())) % 1013 - 506
    return (steps.astype(np.float32) / 512).reshape(shape)


@pytest.fixture
def sources(tmp_path):
    """A copy of the goldens that a test may break."""
    shutil.copytree(GOLDENS, tmp_path / 'sources')
    return tmp_path / 'sources'


def run_tool(sources, out, *more, transformer='infinity.pth', vae='vae.pth',
             text='text'):
    return subprocess.run(
        [sys.executable, TOOL, '--template', sources / 'template',
         '--transformer', sources / transformer, '--vae', sources / vae,
         '--text_encoder', sources / text, '--tokenizer', PIECES,
         '--out', out, *more], capture_output=True, text=True)


def as_float32(path):
    """{name: (dtype, float32 array)}, bfloat16 widened by hand."""
    out = {}
    raw = open(path, 'rb').read()
    size = int.from_bytes(raw[:8], 'little')
    for name, entry in json.loads(raw[8:8 + size]).items():
        begin, end = (8 + size + at for at in entry['data_offsets'])
        if entry['dtype'] == 'BF16':
            bits = np.frombuffer(raw[begin:end], np.uint16).astype(np.uint32)
            array = (bits << 16).view(np.float32)
        else:
            held = {'F32': np.float32, 'F16': np.float16}[entry['dtype']]
            array = np.frombuffer(raw[begin:end], held).astype(np.float32)
        out[name] = entry['dtype'], array.reshape(entry['shape'])
    return out


def test_a_pth_of_the_trainer_becomes_safetensors(sources, tmp_path):
    done = run_tool(sources, tmp_path / 'out', '--block_dtype', 'f32')
    assert done.returncode == 0, done.stderr
    written = as_float32(tmp_path / 'out' / 'infinity.safetensors')
    assert len(written) == 21 + 2 * 19
    for name, (dtype, array) in written.items():
        assert dtype == 'F32'
        assert (array == value(name, array.shape)).all(), name
    # The safetensors package agrees that the file is one.
    with safe_open(tmp_path / 'out' / 'infinity.safetensors', 'numpy') as file:
        assert file.get_tensor('cfg_uncond').shape == (8, 128)


def test_blocks_are_rounded_to_bfloat16_and_the_rest_is_not(sources, tmp_path):
    done = run_tool(sources, tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    for name, (dtype, array) in as_float32(
            tmp_path / 'out' / 'infinity.safetensors').items():
        exact = value(name, array.shape)
        if name.startswith('block_chunks'):
            assert dtype == 'BF16'
            assert np.abs(array - exact).max() <= 2.0 ** -9, name
        else:
            assert dtype == 'F32'
            assert (array == exact).all(), name


def test_legacy_vae_names_are_mended_and_the_encoder_is_left_out(
        sources, tmp_path):
    done = run_tool(sources, tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    written = as_float32(tmp_path / 'out' / 'vae.safetensors')
    assert 'decoder.norm_out.norm.weight' in written
    assert not any(n.startswith(('encoder', 'quant')) for n in written)
    dtype, array = written['decoder.conv_in.conv.weight']
    assert dtype == 'F32'  # from float16, exactly
    assert (array == value('decoder.conv_in.conv.weight', array.shape)).all()


@pytest.mark.parametrize('text', ['text', 'text_bin'])
def test_sharded_text_encoders_come_together(sources, tmp_path, text):
    done = run_tool(sources, tmp_path / 'out', text=text)
    assert done.returncode == 0, done.stderr
    written = as_float32(tmp_path / 'out' / 'text_encoder.safetensors')
    assert len(written) == 12
    assert 'lm_head.weight' not in written
    for name, (dtype, array) in written.items():
        assert dtype == 'F32'
        # bfloat16 in the shards.
        assert np.abs(array - value(name, array.shape)).max() <= 2.0 ** -9


def test_the_folder_gets_yaml_and_tokenizer(sources, tmp_path):
    shutil.copy(PIECES, sources / 'text' / 'spiece.model')
    done = subprocess.run(
        [sys.executable, TOOL, '--template', sources / 'template',
         '--transformer', sources / 'infinity.pth', '--vae',
         sources / 'vae.pth', '--text_encoder', sources / 'text', '--out',
         tmp_path / 'out'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path / 'out')) == [
        'infinity.safetensors', 'model.yaml', 'text_encoder.safetensors',
        'tokenizer.model', 'vae.safetensors']
    assert (tmp_path / 'out' / 'tokenizer.model').read_bytes() == (
        PIECES.read_bytes())
    assert (tmp_path / 'out' / 'model.yaml').read_text() == (
        sources / 'template' / 'model.yaml').read_text()
    assert 'infinity.safetensors: 0 of 0 MB' in done.stderr


def test_an_imported_transformer_repeats_the_authors_run(tmp_path, request):
    """From shards to a file that the model loads, to the recorded bits."""
    golden = ROOT / 'tests' / 'golden' / 'infinity-square'
    names = tensors.open_checkpoint(str(golden / 'infinity.safetensors'))
    out = tmp_path / 'infinity.safetensors'
    import_checkpoint.write_safetensors(
        str(out), dict(reversed(names.items())),
        lambda name: 'BF16' if name.startswith('block') else 'F32',
        lambda *progress: None)
    for name in ('meta.json', 'goldens.safetensors'):
        shutil.copy(golden / name, tmp_path)
    parity = request.config.getoption('--parity')
    done = subprocess.run([parity, '--no-vae', tmp_path], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_official_templates_match_their_own_layout():
    """694 entries of Infinity-2B (22 + 32 x 21), less the 65 zero buffers."""
    import import_checkpoint_layout as layout
    import yaml
    for model, parameters, count in (('infinity-2b', 2204564032, 629),
                                     ('infinity-8b', 8375791824, None)):
        with open(ROOT / 'models' / model / 'model.yaml') as file:
            spec = yaml.safe_load(file)['transformer']
        blocks = [f'blocks.{i}' for i in range(spec['depth'])]
        shapes = layout.transformer(spec, blocks)
        assert sum(int(np.prod(s)) for s in shapes.values()) == parameters
        assert count in (None, len(shapes))


def fails(done, *parts):
    assert done.returncode == 1, done.stderr
    for part in parts:
        assert part in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_missing_tensor_is_named_and_nothing_is_written(sources, tmp_path):
    shard = sources / 'text' / 'model-00002-of-00002.safetensors'
    entries = dict(tensors.open_checkpoint(str(shard)))
    dropped = 'encoder.final_layer_norm.weight'
    assert entries.pop(dropped)
    import_checkpoint.write_safetensors(str(shard), entries, lambda _: 'BF16',
                                        lambda *progress: None)
    done = run_tool(sources, tmp_path / 'out')
    fails(done, f"'{dropped}' of shape [128] is missing")
    assert not (tmp_path / 'out').exists()


def test_a_misshapen_tensor_is_named_with_both_shapes(sources, tmp_path):
    yaml_path = sources / 'template' / 'model.yaml'
    yaml_path.write_text(yaml_path.read_text().replace(
        'text_max_length: 8', 'text_max_length: 9'))
    fails(run_tool(sources, tmp_path / 'out'),
          "'cfg_uncond'", '[8, 128], expected [9, 128]', 'infinity.pth')


def test_another_depth_is_named_with_both_numbers(sources, tmp_path):
    yaml_path = sources / 'template' / 'model.yaml'
    yaml_path.write_text(yaml_path.read_text().replace('depth: 2', 'depth: 3'))
    fails(run_tool(sources, tmp_path / 'out'), '2 blocks, expected 3')


def test_a_vae_in_the_transformers_place_is_refused(sources, tmp_path):
    fails(run_tool(sources, tmp_path / 'out', transformer='vae.pth'),
          '0 blocks')
    fails(run_tool(sources, tmp_path / 'out', vae='infinity.pth'),
          "'decoder.conv_in.conv.weight' of shape [32, 4, 3, 3] is missing",
          "'cfg_uncond'", 'not part of the model', 'more')


def test_a_superfluous_tensor_is_named(sources, tmp_path):
    weights = {name: np.asarray(tensor.array(), np.float32) for name, tensor in
               tensors.open_checkpoint(str(sources / 'vae.pth')).items()}
    weights['decoder.attention.weight'] = np.zeros((2, 2), np.float32)
    save_file(weights, sources / 'vae.safetensors')
    fails(run_tool(sources, tmp_path / 'out', vae='vae.safetensors'),
          "'decoder.attention.weight' of shape [2, 2]")


def test_broken_files_are_named(sources, tmp_path):
    out = tmp_path / 'out'
    fails(run_tool(sources, out, transformer='nothing.pth'), 'nothing.pth')
    (sources / 'old.pth').write_bytes(b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j')
    fails(run_tool(sources, out, transformer='old.pth'), 'old.pth',
          'not a zip file')
    whole = (sources / 'infinity.pth').read_bytes()
    (sources / 'short.pth').write_bytes(whole[:len(whole) // 2])
    fails(run_tool(sources, out, transformer='short.pth'), 'short.pth')
    shard = sources / 'text' / 'model-00002-of-00002.safetensors'
    shard.write_bytes(shard.read_bytes()[:-4])
    fails(run_tool(sources, out), 'model-00002-of-00002.safetensors', 'bytes')
    shard.unlink()
    fails(run_tool(sources, out), 'model-00002-of-00002.safetensors',
          '1 of 2 missing')
    assert not out.exists()


def test_a_storage_that_is_too_short_is_refused(sources, tmp_path):
    """A zip whose members are there but cut."""
    with zipfile.ZipFile(sources / 'vae.pth') as old, zipfile.ZipFile(
            sources / 'cut.pth', 'w') as new:
        for info in old.infolist():
            data = old.read(info)
            if '/data/' in info.filename and len(data) > 1000:
                data = data[:-2]
            new.writestr(info.filename, data)
    fails(run_tool(sources, tmp_path / 'out', vae='cut.pth'), 'cut.pth',
          'expected')


def test_existing_files_are_never_overwritten(sources, tmp_path):
    out = tmp_path / 'out'
    assert run_tool(sources, out).returncode == 0
    before = (out / 'vae.safetensors').read_bytes()
    fails(run_tool(sources, out), 'already there')
    assert (out / 'vae.safetensors').read_bytes() == before


def test_a_pickle_runs_nothing(sources, tmp_path):
    """Objects other than tensors are placeholders, whatever they ask for."""
    victim = tmp_path / 'victim'
    attack = (b'\x80\x02cos\nsystem\nX' + len(f'touch {victim}').to_bytes(
        4, 'little') + f'touch {victim}'.encode() + b'\x85R.')
    with zipfile.ZipFile(sources / 'evil.pth', 'w') as archive:
        archive.writestr('archive/data.pkl', attack)
    fails(run_tool(sources, tmp_path / 'out', vae='evil.pth'),
          'no state dict')
    assert not victim.exists()


def test_rounding_to_bfloat16_is_to_the_nearest_even():
    exact = np.array([0x3F800000, 0x3F808000, 0x3F818000, 0x3F808001,
                      0x3F807FFF, 0x7F800000, 0xFF800000, 0x7F7FFFFF],
                     np.uint32)
    expected = [0x3F80, 0x3F80, 0x3F82, 0x3F81, 0x3F80, 0x7F80, 0xFF80, 0x7F80]
    assert import_checkpoint.to_bfloat16(
        exact.view(np.float32)).tolist() == expected
    nan = np.array([0x7FFFFFFF, 0x7F800001], np.uint32).view(np.float32)
    widened = import_checkpoint.to_float32(
        import_checkpoint.to_bfloat16(nan), 'BF16')
    assert np.isnan(widened).all()


def test_a_value_beyond_float16_is_refused():
    with pytest.raises(tensors.CheckpointError, match='float16'):
        import_checkpoint.converted(np.array([1e6], np.float32), 'F32', 'F16')


def test_large_tensors_are_converted_in_pieces(monkeypatch):
    monkeypatch.setattr(import_checkpoint, 'CHUNK', 100)
    values = value('x', (37, 11))
    tensor = tensors.StoredTensor('x', 'F32', values.shape, values.reshape(-1))
    pieces = list(import_checkpoint.chunks(tensor))
    assert len(pieces) == 5
    assert (np.concatenate(pieces) == values).all()
