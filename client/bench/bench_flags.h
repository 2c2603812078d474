// What the flags of `heatkv bench` say, and what they mean together.

#ifndef CLIENT_BENCH_BENCH_FLAGS_H_
#define CLIENT_BENCH_BENCH_FLAGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/bench/faults.h"
#include "client/bench/load_run.h"
#include "client/bench/mix.h"
#include "client/bench/own_server.h"

namespace heatkv::client {

struct BenchFlags {
  int concurrency = 4;
  std::optional<double> rate;
  std::optional<int> requests;
  std::string duration, timeout, latency_limit;
  std::string mix, prompts;
  bool replay = false;
  FieldChoices choices;
  std::vector<std::string> priorities;
  std::uint64_t seed = 1;
  FaultShares faults;
  std::string slow_read = "200ms", slow_pause = "2s";
  int connections = 4;
  std::string admin, json, records;
  OwnServerFlags own_server;
  bool quiet = false;
};

// `flags` must outlive the parse.
void AddBenchFlags(CLI::App& command, BenchFlags* flags);

struct BenchPlan {
  Mix mix;
  FaultDraws faults;
  LoadOptions load;
  double latency_limit = 0;  // seconds; infinity: none
};

// Reads the files that the flags name.  InvalidArgument says which flag or
// which line of which file is wrong.
absl::StatusOr<BenchPlan> MakeBenchPlan(const BenchFlags& flags);

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_BENCH_FLAGS_H_
