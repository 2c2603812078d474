// How a transformer's file names its blocks.  Official models store them in
// chunks, `block_chunks.{i}.module.{j}.`, or, if there is one chunk only, as
// `blocks.{l}.`; the chunk size is not written down anywhere else.

#ifndef MODEL_INFINITY_BLOCK_NAMES_H_
#define MODEL_INFINITY_BLOCK_NAMES_H_

#include <string>
#include <vector>

namespace heatkv::model {

// Prefixes of the blocks named by `tensors`, in the order of layers, without
// the final dot.  Empty if no tensor names a block.
std::vector<std::string> BlockNames(const std::vector<std::string>& tensors);

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_BLOCK_NAMES_H_
