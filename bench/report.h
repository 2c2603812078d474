// How a benchmark ends: its report on standard output and in a file, or the
// reason why there is none.

#ifndef BENCH_REPORT_H_
#define BENCH_REPORT_H_

#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace heatkv::server {

// Prints `report`, and writes it to `file` unless that is empty; or prints the
// error in the name of `program`.  The exit status of the program.
int PrintReport(const std::string& program,
                const absl::StatusOr<nlohmann::json>& report,
                const std::string& file);

}  // namespace heatkv::server

#endif  // BENCH_REPORT_H_
