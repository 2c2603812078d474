// Encodes prompts on a thread of its own, for a model whose thread has better
// to do than to wait for a text encoder on the CPU.
//
// What was prepared is kept until somebody takes it, or until newer prompts
// need its place.
//
// Thread safety: every method may be called from any thread.

#ifndef MODEL_TEXT_TEXT_WORKER_H_
#define MODEL_TEXT_TEXT_WORKER_H_

#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "absl/status/statusor.h"

namespace heatkv::model {

class TextWorker {
 public:
  // Prompts that are waiting, being encoded or done, at most.
  static constexpr std::size_t kMost = 16;

  using Encode =
      std::function<absl::StatusOr<at::Tensor>(const std::string& prompt)>;

  // `encode` is called on the worker's thread alone, and must not throw.
  explicit TextWorker(Encode encode);

  // Waits for the prompt that is being encoded; the others are forgotten.
  ~TextWorker();

  // Encodes `prompt` soon.  No effect if it is here already, or if kMost others
  // are and none of them is done.
  void Prepare(std::string_view prompt);

  // False while `prompt` waits or is being encoded.
  bool IsReady(std::string_view prompt) const;

  // What encoding came to; waits for it, encoding it now if nobody prepared it.
  absl::StatusOr<at::Tensor> Take(const std::string& prompt);

 private:
  struct Entry {
    std::string prompt;
    std::optional<absl::StatusOr<at::Tensor>> result;  // once it is done
  };
  using Entries = std::list<Entry>;

  // With mutex_ held.
  Entries::iterator Find(std::string_view prompt);
  Entries::iterator FindWaiting();
  void Run();

  const Encode encode_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable has_work_;
  std::condition_variable has_result_;
  Entries entries_;  // the oldest first
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace heatkv::model

#endif  // MODEL_TEXT_TEXT_WORKER_H_
