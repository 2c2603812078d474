// The memory behind the pool's block numbers: keys and values of every image in
// flight, in the cache dtype.  It stores and gathers what slots say; which
// block belongs to whom is decided in cache/.
//
// Layout [blocks, 2 (keys, values), kBlockTokens, head width].  Memory is not
// cleared: a slot is written before it is read.  Used by one thread.

#ifndef MODEL_INFINITY_KEY_VALUE_ARENA_H_
#define MODEL_INFINITY_KEY_VALUE_ARENA_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/infinity/step_slots.h"

namespace heatkv::model {

class KeyValueArena {
 public:
  KeyValueArena(std::int64_t blocks, int head_width, at::ScalarType dtype,
                at::Device device);

  std::int64_t blocks() const { return blocks_.size(0); }

  // Kept prefix of the rows of `group`, each [rows, group.prefix, head width],
  // in `dtype`.
  struct Prefix {
    at::Tensor keys;
    at::Tensor values;
  };
  Prefix Gather(const PrefixGroup& group, at::ScalarType dtype) const;

  // Writes the current scale's keys and values of the rows that keep it.  Both
  // are [branches, heads, tokens, head width].  Must come after every Gather of
  // the same layer, because a row may write into blocks that another row of the
  // layer has just given back.
  void Store(const StoredRows& stored, const at::Tensor& keys,
             const at::Tensor& values);

  // The memory itself, for kernels that read and write it in another way.
  const at::Tensor& mutable_blocks() { return blocks_; }

 private:
  at::Tensor blocks_;
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_KEY_VALUE_ARENA_H_
