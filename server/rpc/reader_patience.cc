#include "server/rpc/reader_patience.h"

namespace heatkv::server {

void ReaderPatience::WriteBegins(absl::Time now) {
  writes_ = true;
  since_ = now;
}

void ReaderPatience::WriteEnds(absl::Time now) {
  writes_ = false;
  since_ = now;
}

ReaderState ReaderPatience::Judge(absl::Time now) const {
  const absl::Duration unchanged = now - since_;
  if (!writes_) {
    return unchanged >= heartbeat_ ? ReaderState::kSilence : ReaderState::kFine;
  }
  if (unchanged >= 2 * stall_timeout_) return ReaderState::kLost;
  return unchanged >= stall_timeout_ ? ReaderState::kStalls
                                     : ReaderState::kFine;
}

}  // namespace heatkv::server
