#include "server/engine/model_watch.h"

namespace heatkv::server {
namespace {

// The smallest piece of work that goes through the device and back.
constexpr char kPrompt[] = "a";

}  // namespace

void ModelWatch::Try(absl::Time now) {
  next_try_ = now + kRetryEvery;
  Become(model_->EncodeText(kPrompt).status());
}

void ModelWatch::Become(absl::Status status) {
  const bool was_well = is_well();
  status_ = std::move(status);
  if (is_well() != was_well) on_change_(status_);
}

}  // namespace heatkv::server
