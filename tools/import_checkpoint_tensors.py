"""Tensors of checkpoint files, read lazily and without torch.

`open_checkpoint` maps names to `StoredTensor`s of a torch .pth / .bin file, a
safetensors file, or a folder of shards of either with an index.  Nothing is
executed: objects in a pickle other than tensors become inert placeholders.
"""
import collections
import json
import mmap
import os
import pickle
import struct
import zipfile

import numpy as np

# Of each safetensors dtype: numpy's way to hold it (bfloat16 as its bits).
HELD_AS = {'F64': np.float64, 'F32': np.float32, 'F16': np.float16,
           'BF16': np.uint16, 'I64': np.int64, 'I32': np.int32,
           'I16': np.int16, 'I8': np.int8, 'U8': np.uint8, 'BOOL': np.bool_}
STORAGE_DTYPES = {'DoubleStorage': 'F64', 'FloatStorage': 'F32',
                  'HalfStorage': 'F16', 'BFloat16Storage': 'BF16',
                  'LongStorage': 'I64', 'IntStorage': 'I32',
                  'ShortStorage': 'I16', 'CharStorage': 'I8',
                  'ByteStorage': 'U8', 'BoolStorage': 'BOOL'}


class CheckpointError(Exception):
    """A file that cannot be used; the message names it and what is wrong."""


class StoredTensor:
    """A strided view of mapped bytes, copied only when asked for."""

    def __init__(self, source, dtype, shape, values, strides=None):
        self.source = source    # the file, for messages
        self.dtype = dtype      # as safetensors says it
        self.shape = tuple(shape)
        self._values = values   # flat numpy array from the first value on
        self._strides = strides  # in values; None = row-major

    def array(self):
        if self._strides is None:
            return self._values.reshape(self.shape)
        size = self._values.itemsize
        return np.lib.stride_tricks.as_strided(
            self._values, self.shape, [s * size for s in self._strides],
            writeable=False)


def _map(path):
    with open(path, 'rb') as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


# ---- safetensors ------------------------------------------------------------


def _open_safetensors(path):
    if os.path.getsize(path) < 8:
        raise CheckpointError(f'{path}: too short for a safetensors file')
    mapped = _map(path)
    size = struct.unpack('<Q', mapped[:8])[0]
    if size > len(mapped) - 8:
        raise CheckpointError(
            f'{path}: the header has {size} bytes, but only '
            f'{len(mapped) - 8} follow its length')
    try:
        header = json.loads(mapped[8:8 + size])
    except ValueError as error:
        raise CheckpointError(f'{path}: the header is no JSON: {error}')
    tensors = {}
    for name, entry in header.items():
        if name == '__metadata__':
            continue
        begin, end = entry['data_offsets']
        held = np.dtype(HELD_AS.get(entry['dtype'], np.void))
        if held == np.void:
            raise CheckpointError(
                f"{path}: tensor '{name}' has unknown dtype {entry['dtype']}")
        count = int(np.prod(entry['shape'], dtype=np.int64))
        if end - begin != count * held.itemsize or (
                8 + size + end > len(mapped)):
            raise CheckpointError(
                f"{path}: tensor '{name}' of shape {entry['shape']} needs "
                f'{count * held.itemsize} bytes, but has {begin}..{end} of '
                f'{len(mapped) - 8 - size}')
        tensors[name] = StoredTensor(
            path, entry['dtype'], entry['shape'],
            np.frombuffer(mapped, held, count, 8 + size + begin))
    return tensors


# ---- torch.save's zip format ------------------------------------------------


class _Inert:
    """Stands for an object of a class that is not a tensor's."""

    def __init__(self, *arguments, **keywords):
        pass

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def append(self, value):
        pass

    def extend(self, values):
        pass


class _StorageType:
    def __init__(self, name):
        self.name = name


class _Storage:
    def __init__(self, dtype, values):
        self.dtype, self.values = dtype, values


class _Unpickler(pickle.Unpickler):
    """Builds plain containers and StoredTensors, and runs nothing else."""

    def __init__(self, file, path, storage):
        super().__init__(file)
        self._path, self._storage = path, storage

    def find_class(self, module, name):
        if (module, name) == ('collections', 'OrderedDict'):
            return collections.OrderedDict
        if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
            return self._tensor
        if (module, name) == ('torch._utils', '_rebuild_parameter'):
            return lambda tensor, *unused: tensor
        if module == 'torch' and name == 'Size':
            return tuple
        if module == 'torch' and name.endswith('Storage'):
            return _StorageType(name)
        return _Inert

    def persistent_load(self, reference):
        kind, storage_type, key, _, count = reference
        name = getattr(storage_type, 'name', None)
        if kind != 'storage' or name not in STORAGE_DTYPES:
            raise CheckpointError(
                f'{self._path}: unknown storage {kind} {name}')
        dtype = STORAGE_DTYPES[name]
        return _Storage(dtype, self._storage(key, HELD_AS[dtype], count))

    def _tensor(self, storage, offset, size, stride, *unused):
        last = offset + sum((n - 1) * s for n, s in zip(size, stride))
        if 0 not in size and last >= len(storage.values):
            raise CheckpointError(
                f'{self._path}: a tensor of shape {list(size)} needs '
                f'{last + 1} values of a storage of {len(storage.values)}')
        return StoredTensor(self._path, storage.dtype, size,
                            storage.values[offset:], stride)


def _open_pickle(path):
    """The object that torch.save wrote."""
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f'{path}: not a zip file; checkpoints older than torch 1.6 must '
            'be loaded and saved again with torch')
    mapped = _map(path)
    with zipfile.ZipFile(path) as archive:
        pickles = [n for n in archive.namelist() if n.endswith('/data.pkl')]
        if len(pickles) != 1:
            raise CheckpointError(f'{path}: {len(pickles)} data.pkl inside, '
                                  'expected 1')
        root = pickles[0][:-len('data.pkl')]
        order = root + 'byteorder'
        if order in archive.namelist() and archive.read(order) != b'little':
            raise CheckpointError(f'{path}: not in little-endian order')

        def storage(key, held, count):
            name = f'{root}data/{key}'
            try:
                info = archive.getinfo(name)
            except KeyError:
                raise CheckpointError(f'{path}: {name} is missing')
            if info.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError(f'{path}: {name} is compressed')
            # The local header has its own lengths of name and extra field.
            name_size, extra_size = struct.unpack(
                '<HH', mapped[info.header_offset + 26:info.header_offset + 30])
            begin = info.header_offset + 30 + name_size + extra_size
            if info.file_size < count * np.dtype(held).itemsize:
                raise CheckpointError(
                    f'{path}: {name} has {info.file_size} bytes, expected '
                    f'{count * np.dtype(held).itemsize}')
            return np.frombuffer(mapped, held, count, begin)

        with archive.open(pickles[0]) as file:
            return _Unpickler(file, path, storage).load()


# Where official checkpoints keep the state dict, outermost first.
WRAPPERS = (('trainer', 'gpt_fsdp'), ('trainer', 'gpt_wo_ddp'), ('vae',),
            ('gpt_fsdp',), ('state_dict',), ('model',))


def _state_dict(path, value):
    def is_state(candidate):
        return isinstance(candidate, dict) and any(
            isinstance(tensor, StoredTensor) for tensor in candidate.values())

    for wrapper in ((),) + WRAPPERS:
        inner = value
        for key in wrapper:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if is_state(inner):
            return {name: tensor for name, tensor in inner.items()
                    if isinstance(tensor, StoredTensor)}
    raise CheckpointError(
        f'{path}: no state dict at the top or under '
        + ', '.join('/'.join(wrapper) for wrapper in WRAPPERS))


# ---- files and folders ------------------------------------------------------


def _open_file(path):
    if path.endswith('.safetensors'):
        return _open_safetensors(path)
    try:
        return _state_dict(path, _open_pickle(path))
    except (pickle.UnpicklingError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f'{path}: broken: {error}')


def _shards(folder):
    """Paths of a folder's weight files: by its index, else all of one kind."""
    names = sorted(os.listdir(folder))
    for ending in ('.safetensors', '.bin', '.pth'):
        indices = [n for n in names if n.endswith(ending + '.index.json')]
        if len(indices) > 1:
            raise CheckpointError(f'{folder}: several indices: {indices}')
        if indices:
            with open(os.path.join(folder, indices[0])) as file:
                shards = sorted(set(json.load(file)['weight_map'].values()))
            missing = [n for n in shards if n not in names]
            if missing:
                raise CheckpointError(
                    f'{folder}: {indices[0]} names {missing[0]}, which is '
                    f'not there ({len(missing)} of {len(shards)} missing)')
        else:
            shards = [n for n in names if n.endswith(ending)]
        if shards:
            return [os.path.join(folder, n) for n in shards]
    raise CheckpointError(f'{folder}: no .safetensors, .bin or .pth files')


def open_checkpoint(path):
    """{name: StoredTensor} of a file, or of all shards of a folder."""
    if not os.path.exists(path):
        raise CheckpointError(f'{path}: no such file or folder')
    paths = _shards(path) if os.path.isdir(path) else [path]
    tensors = {}
    for shard in paths:
        for name, tensor in _open_file(shard).items():
            if name in tensors:
                raise CheckpointError(f"tensor '{name}' is in two files: "
                                      f'{tensors[name].source} and {shard}')
            tensors[name] = tensor
    return tensors
