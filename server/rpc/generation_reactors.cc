#include "server/rpc/generation_reactors.h"

#include <algorithm>
#include <utility>

namespace heatkv::server {

bool StreamCall::Write(v1::GenerateImageEvent event) {
  written_ = std::move(event);
  StartWrite(&written_);
  return false;
}

bool UnaryCall::Write(v1::GenerateImageEvent event) {
  if (event.has_image()) {
    *response_->add_images() = std::move(*event.mutable_image());
  } else if (event.has_completed()) {
    *response_->mutable_usage() = event.completed().usage();
  } else if (event.has_accepted()) {
    response_->set_request_id(event.accepted().request_id());
  } else if (event.has_started()) {
    response_->set_tier(event.started().tier());
  }
  return true;
}

// Images of several devices do not end in their order.
void UnaryCall::Close(const grpc::Status& status) {
  auto* const images = response_->mutable_images();
  std::sort(images->pointer_begin(), images->pointer_end(),
            [](const v1::Image* a, const v1::Image* b) {
              return a->index() < b->index();
            });
  Finish(status);
}

}  // namespace heatkv::server
