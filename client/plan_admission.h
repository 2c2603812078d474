// How many more requests run at once because admission looks at safe states
// and not at the sum of peaks: part of `heatkv plan`.
//
// A saturated device is simulated under either rule with the `preview` policy,
// under which as many images are in flight as may be.  (Under `latency` images
// are finished before others start, so that there the rule hardly matters.)
//
// Stateless; any thread may call these functions.

#ifndef CLIENT_PLAN_ADMISSION_H_
#define CLIENT_PLAN_ADMISSION_H_

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "client/plan_report.h"
#include "client/plan_simulation.h"
#include "nlohmann/json.hpp"
#include "server/engine/simulated_load.h"

namespace heatkv::client {

struct AdmissionRequest {
  std::int64_t pool_bytes = 0;       // 0: that of 8 images by the sum of peaks
  int max_running = 1024;            // images in flight
  std::filesystem::path costs = {};  // empty: ModeledCosts
};

struct AdmissionGain {
  std::int64_t pool_bytes = 0;  // whole blocks
  int max_running = 0;
  server::Concurrency by_peaks;
  server::Concurrency safe;
  // Of identical images that all have the small scales behind them.
  CapacityCell rested;
  std::string costs;  // where they are from
};

// Fails with InvalidArgument, naming both numbers, if not one image fits the
// pool, and as the reader of costs does.
absl::StatusOr<AdmissionGain> MeasureAdmission(const PlanReport& report,
                                               const AdmissionRequest& request);

// A paragraph for people.
std::string ToText(const AdmissionGain& gain);

// {pool_bytes, max_running, costs,
//  sum_of_peaks | safe_state: {mean, greatest, images_per_second},
//  past_small_scales}
nlohmann::ordered_json ToJson(const AdmissionGain& gain);

}  // namespace heatkv::client

#endif  // CLIENT_PLAN_ADMISSION_H_
