#include "bench/report.h"

#include <cstdio>
#include <fstream>

namespace heatkv::server {

int PrintReport(const std::string& program,
                const absl::StatusOr<nlohmann::json>& report,
                const std::string& file) {
  if (!report.ok()) {
    std::fprintf(stderr, "%s: error: %s\n", program.c_str(),
                 std::string(report.status().message()).c_str());
    return 1;
  }
  const std::string text = report->dump(2) + "\n";
  std::fputs(text.c_str(), stdout);
  if (file.empty()) return 0;
  std::ofstream stream(file);
  stream << text;
  if (!stream.flush()) {
    std::fprintf(stderr, "%s: error: cannot write %s\n", program.c_str(),
                 file.c_str());
    return 1;
  }
  return 0;
}

}  // namespace heatkv::server
