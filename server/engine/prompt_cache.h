// The prompts encoded last, so that a prompt asked for again (another seed,
// another size) costs no text encoding.  Bounded by their number and by their
// bytes on the device (0.26 MB a token for Infinity-2B on a GPU); the one used
// longest ago leaves first.  What leaves lives on while images are made from
// it.
//
// Not thread-safe: owned by the engine thread.

#ifndef SERVER_ENGINE_PROMPT_CACHE_H_
#define SERVER_ENGINE_PROMPT_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "model/api/image_model.h"

namespace heatkv::server {

class PromptCache {
 public:
  // At most `capacity` prompts of at most `capacity_bytes` together; 0 of
  // either keeps none.
  PromptCache(std::size_t capacity, std::int64_t capacity_bytes)
      : capacity_(capacity), capacity_bytes_(capacity_bytes) {}

  // Null if `prompt` is not here; else it counts as used now.
  std::shared_ptr<const model::EncodedText> Find(const std::string& prompt);

  // The same without counting as use.
  bool Contains(const std::string& prompt) const {
    return by_prompt_.contains(prompt);
  }

  // `text` is shared with the images being made from it.  One that is larger
  // than all there may be is not kept, and nothing leaves for it.
  void Insert(const std::string& prompt,
              std::shared_ptr<const model::EncodedText> text);

  std::size_t size() const { return entries_.size(); }
  std::int64_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string prompt;
    std::shared_ptr<const model::EncodedText> text;
  };
  void DropLast();

  const std::size_t capacity_;
  const std::int64_t capacity_bytes_;
  std::int64_t bytes_ = 0;
  std::list<Entry> entries_;  // the latest used first
  std::unordered_map<std::string, std::list<Entry>::iterator> by_prompt_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_PROMPT_CACHE_H_
