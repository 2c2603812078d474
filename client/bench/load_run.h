// Puts a load on a server: in a closed loop, a fixed number of requests in
// flight; in an open loop, requests that arrive when they arrive.
//
// RunLoad works on the caller's thread, which starts requests and sleeps in
// between; gRPC's threads run them.

#ifndef CLIENT_BENCH_LOAD_RUN_H_
#define CLIENT_BENCH_LOAD_RUN_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/bench/faults.h"
#include "client/bench/mix.h"
#include "client/bench/record.h"
#include "client/connection.h"

namespace heatkv::client {

struct LoadOptions {
  int concurrency = 4;         // of the closed loop
  std::optional<double> rate;  // requests a second: an open loop
  std::optional<int> requests;
  // After this no request starts; those in flight run to their ends.
  absl::Duration duration = absl::InfiniteDuration();
  absl::Duration timeout = absl::InfiniteDuration();  // of one request
  SlowPauses pauses;
  std::uint64_t seed = 1;  // of the arrivals
};

// What there is to see while it runs.
struct LoadState {
  double seconds = 0;
  int started = 0;
  int ended = 0;
  int unintended = 0;
  int images = 0;
  std::optional<int> requests;  // in all
};

struct LoadResult {
  std::vector<RequestRecord> records;  // by index
  double wall_seconds = 0;             // to the end of the last request
};

// `connections` is not empty; requests take turns on them, but for those that
// vanish, which have connections of their own to `server`.  Either
// options.requests or options.duration bounds the load.  Calls `on_tick` every
// `tick` and once at the end, on this thread.
//
// Fails as DroppableChannel::Open does and as `on_tick` does, after the
// requests in flight have ended.
absl::StatusOr<LoadResult> RunLoad(
    const std::string& server, const std::vector<Connection>& connections,
    const Mix& mix, const FaultDraws& faults, const LoadOptions& options,
    absl::Duration tick,
    const std::function<absl::Status(const LoadState&)>& on_tick);

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_LOAD_RUN_H_
