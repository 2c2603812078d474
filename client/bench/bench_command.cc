#include "client/bench/bench_command.h"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <memory>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/readable_bytes.h"
#include "client/bench/bench_flags.h"
#include "client/bench/load_run.h"
#include "client/bench/summary.h"
#include "client/connection.h"
#include "client/message_json.h"
#include "client/picture_files.h"
#include "client/progress.h"
#include "grpcpp/client_context.h"

namespace heatkv::client {
namespace {

using nlohmann::ordered_json;

constexpr absl::Duration kPatience = absl::Seconds(5);
constexpr absl::Duration kTerminalTick = absl::Milliseconds(200);
constexpr absl::Duration kLineTick = absl::Seconds(5);

int Complain(absl::string_view message, int code) {
  std::cerr << "heatkv bench: " << message << "\n";
  return code;
}

std::string Describe(const LoadState& state) {
  const std::string of =
      state.requests ? absl::StrCat(" of ", *state.requests) : "";
  return absl::StrFormat(
      "%d%s requests ended, %d in flight, %d images, %.2f images/s, %d not as "
      "intended, %.0f s",
      state.ended, of, state.started - state.ended, state.images,
      state.seconds > 0 ? state.images / state.seconds : 0.0, state.unintended,
      state.seconds);
}

// What the server says of itself; without the sizes, which do not matter here.
absl::StatusOr<ordered_json> DescribeServer(const Connection& connection,
                                            const std::string& address) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  v1::GetCapabilitiesResponse response;
  const grpc::Status status =
      connection.stub().GetCapabilities(&context, {}, &response);
  if (!status.ok()) return absl::UnavailableError(DescribeFailure(status));
  for (v1::ModelCapability& model : *response.mutable_models()) {
    model.clear_sizes();
  }
  auto json = ToJsonValue(response);
  if (json.ok()) (*json)["address"] = address;
  return json;
}

absl::StatusOr<v1::PoolView> GetPool(const std::string& address) {
  const auto admin = OpenAdmin(address, kPatience);
  if (!admin.ok()) return admin.status();
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  v1::PoolView pool;
  const grpc::Status status = (*admin)->GetPool(&context, {}, &pool);
  if (!status.ok()) return absl::UnavailableError(DescribeFailure(status));
  return pool;
}

std::string PoolText(const v1::PoolView& pool) {
  return absl::StrFormat(
      "pool               %s at most of %s, %s now, plan error %d bytes\n",
      ReadableBytes(pool.high_water_bytes()), ReadableBytes(pool.limit_bytes()),
      ReadableBytes(pool.used_bytes()), pool.plan_error_bytes());
}

ordered_json PoolJson(const v1::PoolView& pool) {
  return {{"limit_bytes", pool.limit_bytes()},
          {"high_water_bytes", pool.high_water_bytes()},
          {"used_bytes", pool.used_bytes()},
          {"plan_error_bytes", pool.plan_error_bytes()},
          {"waiting_requests", pool.waiting_requests()}};
}

ordered_json LoadJson(const BenchFlags& flags) {
  ordered_json load = {{"loop", flags.rate ? "open" : "closed"}};
  if (flags.rate) {
    load["rate"] = *flags.rate;
  } else {
    load["concurrency"] = flags.concurrency;
  }
  load.update({{"seed", flags.seed},
               {"mix", flags.mix},
               {"replay", flags.replay},
               {"connections", flags.connections},
               {"cancel_share", flags.faults.cancel},
               {"slow_share", flags.faults.slow},
               {"vanish_share", flags.faults.vanish},
               {"slow_read", flags.slow_read},
               {"slow_pause", flags.slow_pause}});
  return load;
}

absl::Status WriteRecords(const std::string& file,
                          const std::vector<RequestRecord>& records) {
  std::string lines;
  for (const RequestRecord& record : records) {
    absl::StrAppend(&lines, ToJson(record).dump(), "\n");
  }
  return WriteFile(file, lines);
}

absl::StatusOr<LoadResult> RunShown(const std::string& server,
                                    const std::vector<Connection>& connections,
                                    const BenchPlan& plan, bool quiet) {
  const ProgressStyle style = StyleOf(stderr, quiet);
  Progress progress(stderr, style);
  auto result =
      RunLoad(server, connections, plan.mix, plan.faults, plan.load,
              style == ProgressStyle::kTerminal ? kTerminalTick : kLineTick,
              [&](const LoadState& state) {
                progress.ShowText(
                    Describe(state),
                    state.requests ? 1.0 * state.ended / *state.requests : -1);
              });
  progress.EndLine();
  return result;
}

int Run(const BenchFlags& flags, const std::string& server) {
  const auto plan = MakeBenchPlan(flags);
  if (!plan.ok()) return Complain(plan.status().message(), kExitUsage);
  std::vector<Connection> connections;
  for (int i = 0; i < flags.connections; ++i) {
    auto connection = Connection::Open(server, kPatience);
    if (!connection.ok()) {
      return Complain(connection.status().message(), kExitUnreachable);
    }
    connections.push_back(*std::move(connection));
  }
  const auto description = DescribeServer(connections[0], server);
  if (!description.ok()) {
    return Complain(description.status().message(), kExitUnreachable);
  }
  if (!flags.admin.empty()) {
    const auto pool = GetPool(flags.admin);  // before the load, not after it
    if (!pool.ok()) return Complain(pool.status().message(), kExitUnreachable);
  }

  const auto result = RunShown(server, connections, *plan, flags.quiet);
  if (!result.ok()) {
    return Complain(result.status().message(), kExitUnreachable);
  }
  const Summary summary =
      Summarize(result->records, result->wall_seconds, plan->latency_limit);
  std::string text = ToText(summary);
  ordered_json json = {{"server", *description},
                       {"client_version", HEATKV_VERSION},
                       {"load", LoadJson(flags)},
                       {"result", ToJson(summary)}};
  if (!flags.admin.empty()) {
    const auto pool = GetPool(flags.admin);
    if (!pool.ok()) return Complain(pool.status().message(), kExitUnreachable);
    absl::StrAppend(&text, PoolText(*pool));
    json["pool"] = PoolJson(*pool);
  }

  absl::Status written;
  if (!flags.records.empty()) {
    written = WriteRecords(flags.records, result->records);
  }
  if (flags.json == "-") {
    std::cout << json.dump(2) << "\n";
  } else {
    std::cout << text;
    if (!flags.json.empty() && written.ok()) {
      written = WriteFile(flags.json, json.dump(2) + "\n");
    }
  }
  if (!written.ok()) return Complain(written.message(), kExitFailed);
  if (summary.unintended_count() == 0) return kExitOk;
  return Complain(
      absl::StrCat(summary.unintended_count(), " of ", summary.requests,
                   " requests did not end as intended"),
      kExitFailed);
}

}  // namespace

void AddBenchCommand(CLI::App& app, const std::string* server, int* exit_code) {
  const auto flags = std::make_shared<BenchFlags>();
  CLI::App* command =
      app.add_subcommand("bench", "Put a load on a server and measure it");
  AddBenchFlags(*command, flags.get());
  command->callback(
      [flags, server, exit_code] { *exit_code = Run(*flags, *server); });
}

}  // namespace heatkv::client
