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
  if (capacity_ == 0 || by_prompt_.count(prompt) != 0) return;
  if (entries_.size() == capacity_) {
    by_prompt_.erase(entries_.back().prompt);
    entries_.pop_back();
  }
  entries_.push_front({prompt, std::move(text)});
  by_prompt_[prompt] = entries_.begin();
}

}  // namespace heatkv::server
