#include "cache/block_source.h"

namespace heatkv::cache {

void BlockSource::ReturnAside() {
  reservation_.GiveAll(aside_);
  aside_.clear();
}

}  // namespace heatkv::cache
