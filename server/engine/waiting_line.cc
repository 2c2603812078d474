#include "server/engine/waiting_line.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace heatkv::server {

absl::Status WaitingLine::MayJoin(std::int64_t bytes) const {
  if (size() >= max_requests_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the queue is full: ", size(), " of ", max_requests_, " requests"));
  }
  if (!empty() && bytes_ + bytes > max_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: the waiting images will hold ", bytes_,
                     " bytes and this request ", bytes, " more, but ",
                     max_bytes_, " may wait"));
  }
  return absl::OkStatus();
}

void WaitingLine::Join(std::shared_ptr<RunningRequest> request) {
  images_ += request->images();
  bytes_ += request->peak_bytes();
  requests_.push_back(std::move(request));
}

std::shared_ptr<RunningRequest> WaitingLine::PopFront() {
  std::shared_ptr<RunningRequest> request = std::move(requests_.front());
  requests_.pop_front();
  Subtract(*request);
  return request;
}

void WaitingLine::Subtract(const RunningRequest& request) {
  images_ -= request.images();
  bytes_ -= request.peak_bytes();
}

}  // namespace heatkv::server
