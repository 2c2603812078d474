#include "server/rpc/job_record.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "google/rpc/status.pb.h"
#include "server/rpc/event_conversion.h"
#include "server/rpc/outbox.h"

namespace heatkv::server {
namespace {

// Whether `next` makes `earlier` stale.
bool Replaces(const v1::GenerateImageEvent& next,
              const v1::GenerateImageEvent& earlier) {
  if (next.has_queued()) return earlier.has_queued();
  return next.has_preview() && earlier.has_preview() &&
         next.preview().image_index() == earlier.preview().image_index();
}

std::int64_t BytesOf(const JobRecord::Entry& entry) {
  return PictureBytes(entry.event) +
         (entry.picture == nullptr ? 0 : entry.picture->size());
}

v1::JobState StateAtEnd(const grpc::Status& status) {
  if (status.ok()) return v1::JOB_STATE_SUCCEEDED;
  return status.error_code() == grpc::StatusCode::CANCELLED
             ? v1::JOB_STATE_CANCELLED
             : v1::JOB_STATE_FAILED;
}

google::rpc::Status ErrorOf(const grpc::Status& status) {
  google::rpc::Status error;
  if (!error.ParseFromString(status.error_details()) || error.code() == 0) {
    error.set_code(status.error_code());
    error.set_message(status.error_message());
  }
  return error;
}

}  // namespace

void JobRecord::Cancel() {
  if (!has_ended() && cancel_) cancel_();
}

void JobRecord::SetRequest(std::string request_id, std::string tier,
                           int images) {
  const std::lock_guard<std::mutex> lock(mutex_);
  request_id_ = std::move(request_id);
  tier_ = std::move(tier);
  images_asked_ = images;
}

void JobRecord::Append(v1::GenerateImageEvent event,
                       std::shared_ptr<const StoredResult> picture) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    HEATKV_CHECK(!end_.has_value());
    HEATKV_CHECK(entries_.empty() ||
                 event.sequence() > entries_.back().event.sequence());
    if (event.has_started()) {
      started_ = true;
      tier_ = event.started().tier();
    }
    const auto stale = std::find_if(
        entries_.begin(), entries_.end(),
        [&](const Entry& entry) { return Replaces(event, entry.event); });
    if (stale != entries_.end()) {
      bytes_ -= BytesOf(*stale);
      entries_.erase(stale);
    }
    entries_.push_back({std::move(event), std::move(picture)});
    bytes_ += BytesOf(entries_.back());
  }
  WakeReaders();
}

void JobRecord::End(const grpc::Status& status, const v1::Usage& usage,
                    absl::Time now) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    HEATKV_CHECK(!end_.has_value());
    end_ = status;
    usage_ = usage;
    ended_ = now;
  }
  WakeReaders();
}

JobRecord::Found JobRecord::After(std::uint64_t sequence) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto next =
      std::upper_bound(entries_.begin(), entries_.end(), sequence,
                       [](std::uint64_t number, const Entry& entry) {
                         return number < entry.event.sequence();
                       });
  Found found;
  if (next != entries_.end()) {
    found.next = *next;
  } else {
    found.end = end_;
  }
  return found;
}

JobRecord::View JobRecord::Describe() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  View view;
  v1::ImageJob& job = view.job;
  job.set_job_id(id_);
  *job.mutable_create_time() = ToProto(created_);
  job.set_tier(tier_);
  job.set_request_id(request_id_);
  job.set_images_asked(images_asked_);
  if (!end_.has_value()) {
    job.set_state(started_ ? v1::JOB_STATE_RUNNING : v1::JOB_STATE_QUEUED);
  } else {
    job.set_state(StateAtEnd(*end_));
    if (!end_->ok()) *job.mutable_error() = ErrorOf(*end_);
    *job.mutable_usage() = usage_;
    *job.mutable_expire_time() = ToProto(ended_ + ttl_);
  }
  std::vector<const Entry*> images;
  for (const Entry& entry : entries_) {
    if (entry.event.has_image()) images.push_back(&entry);
  }
  // Images of several devices do not end in their order.
  std::sort(images.begin(), images.end(), [](const Entry* a, const Entry* b) {
    return a->event.image().index() < b->event.image().index();
  });
  for (const Entry* entry : images) {
    *job.add_images() = entry->event.image();
    view.pictures.push_back(entry->picture);
  }
  return view;
}

bool JobRecord::has_ended() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return end_.has_value();
}

absl::Time JobRecord::expires() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return end_.has_value() ? ended_ + ttl_ : absl::InfiniteFuture();
}

std::int64_t JobRecord::bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return bytes_;
}

void JobRecord::AddReader(std::weak_ptr<JobReader> reader) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // Those that have left would pile up while nothing happens to the job.
  readers_.erase(std::remove_if(readers_.begin(), readers_.end(),
                                [](const std::weak_ptr<JobReader>& weak) {
                                  return weak.expired();
                                }),
                 readers_.end());
  readers_.push_back(std::move(reader));
}

void JobRecord::WakeReaders() {
  std::vector<std::shared_ptr<JobReader>> alive;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto gone = std::remove_if(readers_.begin(), readers_.end(),
                                     [&](const std::weak_ptr<JobReader>& weak) {
                                       std::shared_ptr<JobReader> reader =
                                           weak.lock();
                                       if (reader == nullptr) return true;
                                       alive.push_back(std::move(reader));
                                       return false;
                                     });
    readers_.erase(gone, readers_.end());
  }
  for (const auto& reader : alive) reader->OnJobChanged();
}

absl::Status ReadPictures(JobRecord::View* view) {
  for (int i = 0; i < view->job.images_size(); ++i) {
    absl::StatusOr<std::string> bytes = view->pictures[i]->Read();
    if (!bytes.ok()) return bytes.status();
    view->job.mutable_images(i)->set_data(*std::move(bytes));
  }
  return absl::OkStatus();
}

}  // namespace heatkv::server
