// How long scales and stages took, as an engine tells whoever watches it, and
// how much memory images hold in between.
//
// Thread safety: any thread.

#ifndef BENCH_STAGE_TIMES_H_
#define BENCH_STAGE_TIMES_H_

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "server/engine/observer.h"

namespace heatkv::server {

// REQUIRES: there are values.
double Median(std::vector<double> values);

class StageTimes final : public ServerObserver {
 public:
  void OnCall(const CallRecord&) override {}
  void OnStage(Stage stage, absl::Duration took) override;
  void OnScale(int scale, absl::Duration took) override;
  void OnImage(const std::string&, const absl::Status&) override {}
  void OnStep(int images) override;

  // Asks `read` after every step for the memory in use, from now on.
  void SetMemoryReader(std::function<std::int64_t()> read);

  // Of the measurement that comes.
  void Clear();

  // Medians since Clear(), in milliseconds: {"steps": steps of all images,
  // "stage_ms": {name: median}, "scale_ms": [median of each scale]}.
  nlohmann::json Report() const;

  // Medians in milliseconds; 0 for what did not happen.
  std::vector<double> scale_ms() const;
  double stage_ms(Stage stage) const;
  // The most that was read after a step.
  std::int64_t most_memory() const;

 private:
  std::vector<double> ScaleMedians() const;

  mutable std::mutex mutex_;
  std::map<std::string, std::vector<double>> stages_;
  std::vector<std::vector<double>> scales_;
  int steps_ = 0;
  std::function<std::int64_t()> read_memory_;
  std::int64_t most_memory_ = 0;
};

}  // namespace heatkv::server

#endif  // BENCH_STAGE_TIMES_H_
