#include "server/rpc/job_book.h"

#include <algorithm>
#include <list>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/engine/retry_hint.h"

namespace heatkv::server {
namespace {

constexpr absl::Duration kRetryAfter = absl::Seconds(5);

}  // namespace

std::int64_t JobBook::Page::bytes() const {
  const std::int64_t bytes = record->bytes();
  return record->has_ended() ? bytes : std::max(bytes, most_bytes);
}

std::int64_t JobBook::Bytes() const {
  std::int64_t bytes = 0;
  for (const Page& page : pages_) bytes += page.bytes();
  return bytes;
}

void JobBook::Sweep(absl::Time now) {
  pages_.remove_if(
      [now](const Page& page) { return page.record->expires() <= now; });
}

std::vector<std::list<JobBook::Page>::iterator> JobBook::Ended() {
  std::vector<std::list<Page>::iterator> ended;
  for (auto page = pages_.begin(); page != pages_.end(); ++page) {
    if (page->record->has_ended()) ended.push_back(page);
  }
  std::stable_sort(ended.begin(), ended.end(), [](auto a, auto b) {
    return a->record->expires() < b->record->expires();
  });
  return ended;
}

absl::StatusOr<std::shared_ptr<JobRecord>> JobBook::Enter(
    const NewJob& job, const std::function<bool()>& begin) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Sweep(clock_->Now());
  if (!job.idempotency_key.empty()) {
    for (const Page& page : pages_) {
      if (page.key != job.idempotency_key || page.tenant != job.tenant) {
        continue;
      }
      if (page.fingerprint == job.fingerprint) return page.record;
      return absl::AlreadyExistsError(absl::StrCat(
          "the idempotency key \"", job.idempotency_key,
          "\" was used for another request, which is job ", page.record->id()));
    }
  }
  if (job.most_bytes > options_.max_bytes) {
    return absl::FailedPreconditionError(
        absl::StrCat("the pictures of the job may take ", job.most_bytes,
                     " bytes, but at most ", options_.max_bytes,
                     " are kept; GenerateImageStream keeps none"));
  }
  // Whom to forget, those first that ended first; done only once it begins.
  std::vector<std::list<Page>::iterator> ended = Ended();
  std::size_t forgotten = 0;
  std::int64_t bytes = Bytes();
  while (pages_.size() - forgotten >= options_.max_jobs ||
         bytes + job.most_bytes > options_.max_bytes) {
    if (forgotten < ended.size()) {
      bytes -= ended[forgotten++]->bytes();
      continue;
    }
    return WithRetryHint(
        absl::ResourceExhaustedError(
            absl::StrCat(pages_.size() - forgotten, " jobs run, of at most ",
                         options_.max_jobs, ", and their pictures may take ",
                         bytes, " bytes of at most ", options_.max_bytes,
                         "; this one may take ", job.most_bytes)),
        kRetryAfter);
  }
  if (!begin()) return std::shared_ptr<JobRecord>();
  for (std::size_t i = 0; i < forgotten; ++i) pages_.erase(ended[i]);
  pages_.push_back({job.record, job.tenant, job.idempotency_key,
                    job.fingerprint, job.most_bytes});
  return job.record;
}

std::shared_ptr<JobRecord> JobBook::Find(const std::string& id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Sweep(clock_->Now());
  for (const Page& page : pages_) {
    if (page.record->id() == id) return page.record;
  }
  return nullptr;
}

void JobBook::ForgetExpired() {
  const std::lock_guard<std::mutex> lock(mutex_);
  Sweep(clock_->Now());
}

int JobBook::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int>(pages_.size());
}

std::int64_t JobBook::bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return Bytes();
}

}  // namespace heatkv::server
