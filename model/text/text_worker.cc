#include "model/text/text_worker.h"

#include <algorithm>
#include <utility>

namespace heatkv::model {

TextWorker::TextWorker(Encode encode)
    : encode_(std::move(encode)), thread_([this] { Run(); }) {}

TextWorker::~TextWorker() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  has_work_.notify_one();
  thread_.join();
}

TextWorker::Entries::iterator TextWorker::Find(std::string_view prompt) {
  return std::find_if(
      entries_.begin(), entries_.end(),
      [&](const Entry& entry) { return entry.prompt == prompt; });
}

TextWorker::Entries::iterator TextWorker::FindWaiting() {
  return std::find_if(entries_.begin(), entries_.end(), [](const Entry& entry) {
    return !entry.result.has_value();
  });
}

void TextWorker::Prepare(std::string_view prompt) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (Find(prompt) != entries_.end()) return;
  if (entries_.size() >= kMost) {
    const auto done = std::find_if(
        entries_.begin(), entries_.end(),
        [](const Entry& entry) { return entry.result.has_value(); });
    if (done == entries_.end()) return;
    entries_.erase(done);
  }
  entries_.push_back({std::string(prompt), std::nullopt});
  has_work_.notify_one();
}

bool TextWorker::IsReady(std::string_view prompt) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::none_of(
      entries_.begin(), entries_.end(), [&](const Entry& entry) {
        return entry.prompt == prompt && !entry.result.has_value();
      });
}

absl::StatusOr<at::Tensor> TextWorker::Take(const std::string& prompt) {
  std::unique_lock<std::mutex> lock(mutex_);
  auto entry = Find(prompt);
  if (entry == entries_.end()) {
    // Before all others, because somebody waits.
    entries_.push_front({prompt, std::nullopt});
    entry = entries_.begin();
    has_work_.notify_one();
  }
  has_result_.wait(lock, [&] { return entry->result.has_value(); });
  absl::StatusOr<at::Tensor> result = *std::move(entry->result);
  entries_.erase(entry);
  return result;
}

void TextWorker::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    has_work_.wait(
        lock, [this] { return stopping_ || FindWaiting() != entries_.end(); });
    if (stopping_) return;
    // Only what is done is ever erased, so the place stays good.
    const auto entry = FindWaiting();
    lock.unlock();
    absl::StatusOr<at::Tensor> result = encode_(entry->prompt);
    lock.lock();
    entry->result = std::move(result);
    has_result_.notify_all();
  }
}

}  // namespace heatkv::model
