#include "cache/block_source.h"

namespace heatkv::cache {

std::int32_t BlockSource::Take() {
  if (aside_.empty()) return reservation_.Take();
  const std::int32_t block = aside_.back();
  aside_.pop_back();
  return block;
}

void BlockSource::ReturnAside() {
  for (const std::int32_t block : aside_) reservation_.Give(block);
  aside_.clear();
}

}  // namespace heatkv::cache
