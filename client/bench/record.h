// What became of one request of a load, as its client saw it.  Plain values;
// client/bench/stream_run.h fills them in, client/bench/summary.h adds them up.

#ifndef CLIENT_BENCH_RECORD_H_
#define CLIENT_BENCH_RECORD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/bench/faults.h"
#include "nlohmann/json.hpp"

namespace heatkv::client {

struct ImageRecord {
  int index = 0;  // 0-based within the request
  std::uint64_t seed = 0;
  std::string tier;  // granted
  std::string aspect, pixel_class;
  std::string sha256;  // of the bytes that arrived
  // They are what the server says they are.
  bool is_intact = true;
};

struct RequestRecord {
  int index = 0;
  std::string id;          // of its line in the mix
  std::string request_id;  // the server's; empty if it was refused
  std::string prompt;
  std::string tenant, priority;
  int images_asked = 1;
  FaultPlan plan;
  bool has_left = false;  // cancelled or vanished, as planned

  std::string status;  // "OK", "CANCELLED", ...
  std::string message;
  bool was_accepted = false;
  std::string asked_tier, granted_tier;

  // In seconds; the first since the load began, all others since the request
  // was due.
  double due = 0;
  double latency = 0;
  std::optional<double> first_preview;
  std::optional<double> first_picture;  // preview or image
  // What the server says that it waited for room.
  std::optional<double> queued;

  std::uint64_t planned_peak_bytes = 0;  // of one image, granted
  std::uint64_t full_cache_bytes = 0;
  std::uint64_t peak_held_bytes = 0;  // the most one image held after a scale
  // Scales after which held and planned bytes differed.
  int plan_errors = 0;
  int previews = 0;
  std::vector<ImageRecord> images;  // those that arrived
};

// Why the request did not end as it was meant to; empty if it did.  One who
// cancels may still get everything; one who vanishes may see anything; the slow
// ones and all others must get every image.
std::string WhyUnintended(const RequestRecord& record);

// One line of --records.
nlohmann::ordered_json ToJson(const RequestRecord& record);

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_RECORD_H_
