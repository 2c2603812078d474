// The figures of a load, from the records of its requests.  Pure arithmetic.

#ifndef CLIENT_BENCH_SUMMARY_H_
#define CLIENT_BENCH_SUMMARY_H_

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "base/spread.h"
#include "client/bench/record.h"
#include "nlohmann/json.hpp"

namespace heatkv::client {

struct Summary {
  double wall_seconds = 0;
  double latency_limit = 0;  // infinity: none
  int requests = 0;
  int completed = 0;  // every image arrived
  int images = 0;     // that arrived, those of requests that left included
  // Images a second: all, and those of requests completed within the limit.
  double throughput = 0;
  double goodput = 0;
  double completed_within_limit =
      0;  // share of all requests that did not leave

  // Of requests that completed and read as fast as they could, in seconds.
  Spread latency, first_preview, first_picture, queued;
  // Of slow readers that completed.
  Spread slow_latency;

  std::map<std::string, int> statuses;
  std::map<std::string, int> granted_tiers;
  int refused = 0;  // never accepted
  int cancelled = 0, vanished = 0, slow = 0;
  int lower_tiers = 0;  // granted another tier than they asked for
  std::uint64_t peak_held_bytes = 0;  // the most one image held
  int plan_errors = 0;
  // Requests that did not end as they were meant to: why, and how many.
  std::map<std::string, int> unintended;

  int unintended_count() const;
};

Summary Summarize(const std::vector<RequestRecord>& records,
                  double wall_seconds, double latency_limit);

// Several lines for people.
std::string ToText(const Summary& summary);

nlohmann::ordered_json ToJson(const Summary& summary);

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_SUMMARY_H_
