// A schedule as JSON, in the form in which schedules of the published orders
// are exchanged, and the hash that names a schedule.
//
// Members, in this order:
//   model, budget, sink_scales
//   heads_dropped_per_source_scale  {"t": x_t}
//   early_pruned_atoms              {"t": |E_t|}
//   removed_total                   {"t": |removed(t)|}
//   sha256                          ScheduleSha256
//   removed_head_masks              {"t": {"s": masks}}: the heads removed when
//       target scale t attends to source scale s, one hexadecimal number a
//       layer (bit h is head h; ceil(heads / 4) digits), layers in order.

#ifndef CALIBRATION_SCHEDULE_FILE_H_
#define CALIBRATION_SCHEDULE_FILE_H_

#include <string>
#include <string_view>

#include "cache/schedule.h"
#include "nlohmann/json.hpp"

namespace heatkv::calibration {

// What names a schedule: the SHA-256 of {"t": {"s": {"layer": [heads]}}}, the
// sorted heads removed at target t from source s, all prunable s and all layers
// present, as Python's json.dumps(sort_keys=True) writes it.
std::string ScheduleSha256(const cache::Schedule& schedule);

// The whole file.
nlohmann::ordered_json ScheduleToJson(std::string_view model,
                                      const cache::Schedule& schedule);

}  // namespace heatkv::calibration

#endif  // CALIBRATION_SCHEDULE_FILE_H_
