// The orders file of the HeatKV authors: a bare list over source scales, the
// first after the sinks first, of lists of [head, layer], least important
// first.  It does not say which model, ladder or number of sink scales it was
// made for, so the reader must.

#ifndef CALIBRATION_ORDERS_FILE_H_
#define CALIBRATION_ORDERS_FILE_H_

#include <filesystem>
#include <string_view>

#include "absl/status/statusor.h"
#include "cache/ranking.h"

namespace heatkv::calibration {

// Fails with InvalidArgument, naming file, source scale, position and both
// numbers, if anything but whole numbers is in the lists, or if a list is no
// permutation of the heads of a model of `layers` layers of `heads` heads.
absl::StatusOr<cache::Ranking> ParseOrders(std::string_view text,
                                           std::string_view name, int layers,
                                           int heads, int sink_scales);

// The same from a file; NotFound if there is none.
absl::StatusOr<cache::Ranking> ReadOrders(const std::filesystem::path& file,
                                          int layers, int heads,
                                          int sink_scales);

}  // namespace heatkv::calibration

#endif  // CALIBRATION_ORDERS_FILE_H_
