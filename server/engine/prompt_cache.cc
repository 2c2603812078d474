#include "server/engine/prompt_cache.h"

#include <utility>

namespace heatkv::server {

std::shared_ptr<const model::EncodedText> PromptCache::Find(
    const std::string& prompt) {
  const auto found = by_prompt_.find(prompt);
  if (found == by_prompt_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->text;
}

void PromptCache::Insert(const std::string& prompt,
                         std::shared_ptr<const model::EncodedText> text) {
  const std::int64_t bytes = text->bytes();
  if (capacity_ == 0 || bytes > capacity_bytes_ ||
      by_prompt_.contains(prompt)) {
    return;
  }
  while (entries_.size() == capacity_ || bytes_ + bytes > capacity_bytes_) {
    DropLast();
  }
  entries_.push_front({prompt, std::move(text)});
  by_prompt_[prompt] = entries_.begin();
  bytes_ += bytes;
}

void PromptCache::DropLast() {
  bytes_ -= entries_.back().text->bytes();
  by_prompt_.erase(entries_.back().prompt);
  entries_.pop_back();
}

}  // namespace heatkv::server
