// An image's arithmetic beside the time that it took and the rate that the
// device reaches at best.

#ifndef BENCH_WORK_REPORT_H_
#define BENCH_WORK_REPORT_H_

#include <vector>

#include "cache/schedule.h"
#include "model/api/model_spec.h"
#include "nlohmann/json.hpp"

namespace heatkv::server {

// What was measured of images of the model's first ladder.
struct MeasuredWork {
  int branches = 2;
  int text_tokens = 0;
  double seconds_per_image = 0;
  // Of a step of each scale, computed for `images_in_step` at once.
  std::vector<double> scale_ms;
  std::vector<int> images_in_step;
  double decode_ms = 0;
  double text_ms = 0;
  double rate = 0;  // floating-point operations a second at best
};

// {"tflop_per_image", "share_of_matrix_rate", and the same for each scale and
// stage}.  Operations are those that the schedule leaves to do
// (model/api/flop_count.h); a share of 1 would be the rate at best.
nlohmann::json ReportWork(const model::ModelSpec& spec,
                          const cache::Schedule& schedule,
                          const MeasuredWork& measured);

}  // namespace heatkv::server

#endif  // BENCH_WORK_REPORT_H_
