// The prompts encoded last, so that a prompt asked for again (another seed,
// another size) costs no text encoding.  Bounded by their number; the one used
// longest ago leaves first.
//
// Not thread-safe: owned by the engine thread.

#ifndef SERVER_ENGINE_PROMPT_CACHE_H_
#define SERVER_ENGINE_PROMPT_CACHE_H_

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "model/api/image_model.h"

namespace heatkv::server {

class PromptCache {
 public:
  // `capacity` prompts; 0 keeps none.
  explicit PromptCache(std::size_t capacity) : capacity_(capacity) {}

  // Null if `prompt` is not here; else it counts as used now.
  std::shared_ptr<const model::EncodedText> Find(const std::string& prompt);

  // `text` is shared with the images being made from it.
  void Insert(const std::string& prompt,
              std::shared_ptr<const model::EncodedText> text);

  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string prompt;
    std::shared_ptr<const model::EncodedText> text;
  };
  std::size_t capacity_;
  std::list<Entry> entries_;  // the latest used first
  std::unordered_map<std::string, std::list<Entry>::iterator> by_prompt_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_PROMPT_CACHE_H_
