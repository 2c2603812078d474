// A model with random weights behind a running engine, asked for pictures of
// its first ladder: what the GPU's benchmark measures.
//
// Owns the engine, and with it the model.  Its thread is the engine's, as in a
// server; everything here is for one other thread.

#ifndef BENCH_MEASURED_ENGINE_H_
#define BENCH_MEASURED_ENGINE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/stage_times.h"
#include "cache/schedule.h"
#include "model/api/model_spec.h"
#include "model/cuda/memory_report.h"
#include "server/engine/clock.h"
#include "server/engine/engine.h"
#include "server/engine/schedule_book.h"

namespace heatkv::server {

struct MeasuredEngineOptions {
  std::string model;      // folder
  std::string tokenizer;  // folder that has one
  std::string device;     // "cuda:0"
  int gpu = 0;            // the same as a number
  double budget = 0.1;
  int most_images = 8;  // that the pool has room for
  std::uint64_t seed = 1;
  // ModelSpec::group_rows; nothing: as it is.
  std::optional<int> group_rows;
};

class MeasuredEngine {
 public:
  // What torch's allocator had.
  struct Moments {
    model::MemoryReport loaded;  // the weights, and nothing reserved in vain
    model::MemoryReport ready;   // and the pool and what warming up left
    double load_seconds = 0;
    double warm_seconds = 0;
  };

  // Returns when the engine is warm.  Fails as the backend does.
  static absl::StatusOr<std::unique_ptr<MeasuredEngine>> Start(
      const MeasuredEngineOptions& options);

  struct Made {
    double seconds = 0;        // until the last request had ended
    double first_preview = 0;  // seconds until a preview came; 0: none did
  };

  // Makes `images` pictures whose requests arrive together, each of a prompt of
  // its own, so that its text is encoded within the time.  `previews` is
  // GenerationRequest::preview_after.
  absl::StatusOr<Made> Generate(int images, std::vector<bool> previews = {});
  // One more picture of the last prompt, whose text the engine remembers.
  absl::StatusOr<Made> GenerateAgain();

  // Tokens of such a prompt.
  absl::StatusOr<int> PromptTokens() const;

  const model::ModelSpec& spec() const { return spec_; }
  const cache::Schedule& schedule() const {
    return *book_->plan(0, 0).schedule;
  }
  // Bytes of the pool that an image holds at its peak.
  std::int64_t image_bytes() const { return image_bytes_; }
  // Bytes of the pool, as it was allocated.
  std::int64_t pool_bytes() const { return pool_bytes_; }
  bool is_guided() const { return spec_.defaults.guidance != 1.0; }
  const Moments& moments() const { return moments_; }
  StageTimes& times() { return times_; }

 private:
  MeasuredEngine() = default;
  absl::StatusOr<Made> Generate(const std::vector<std::string>& prompts,
                                const std::vector<bool>& previews);

  SystemClock clock_;
  StageTimes times_;
  model::ModelSpec spec_;
  std::shared_ptr<const ScheduleBook> book_;
  std::int64_t image_bytes_ = 0;
  std::int64_t pool_bytes_ = 0;
  Moments moments_;
  int made_prompts_ = 0;
  std::uint64_t made_ = 0;
  std::unique_ptr<Engine> engine_;  // the first to go
};

}  // namespace heatkv::server

#endif  // BENCH_MEASURED_ENGINE_H_
