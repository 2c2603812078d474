#include "server/rpc/job_call.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace heatkv::server {

std::int64_t JobCall::MostBytes() const {
  const GenerationRequest& generation = asked().generation;
  const std::int64_t raw = std::int64_t{3} * asked().width * asked().height;
  // What cannot be compressed grows a little.
  const std::int64_t picture = raw + raw / 64 + 4096;
  const bool previews = std::count(generation.preview_after.begin(),
                                   generation.preview_after.end(), true) > 0;
  return static_cast<std::int64_t>(generation.seeds.size()) * picture *
         (previews ? 2 : 1);
}

absl::Status JobCall::Keep(v1::Image* image) {
  auto picture = store_->Put(absl::StrCat(record_->id(), "-", image->index()),
                             std::move(*image->mutable_data()));
  image->clear_data();
  if (!picture.ok()) return picture.status();
  const std::lock_guard<std::mutex> lock(pictures_mutex_);
  pictures_[image->index()] = *std::move(picture);
  return absl::OkStatus();
}

bool JobCall::Write(v1::GenerateImageEvent event) {
  std::shared_ptr<const StoredResult> picture;
  if (event.has_image()) {
    const std::lock_guard<std::mutex> lock(pictures_mutex_);
    const auto found = pictures_.find(event.image().index());
    picture = std::move(found->second);
    pictures_.erase(found);
  }
  record_->Append(std::move(event), std::move(picture));
  return true;
}

void JobCall::Close(const grpc::Status& status) {
  record_->End(status, MakeUsage(), services_->clock->Now());
}

}  // namespace heatkv::server
