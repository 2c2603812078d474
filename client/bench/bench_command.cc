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
#include "base/status_macros.h"
#include "client/bench/bench_flags.h"
#include "client/bench/load_run.h"
#include "client/bench/own_server.h"
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

// `own` as in RunAgainst.
absl::StatusOr<LoadResult> RunShown(const std::string& server,
                                    const std::vector<Connection>& connections,
                                    const BenchPlan& plan, bool quiet,
                                    OwnServer* own) {
  const ProgressStyle style = StyleOf(stderr, quiet);
  Progress progress(stderr, style);
  auto result =
      RunLoad(server, connections, plan.mix, plan.faults, plan.load,
              style == ProgressStyle::kTerminal ? kTerminalTick : kLineTick,
              [&](const LoadState& state) -> absl::Status {
                // First: what a lost server leads to is not to be seen.
                if (own != nullptr) RETURN_IF_ERROR(own->CheckRuns());
                progress.ShowText(
                    Describe(state),
                    state.requests ? 1.0 * state.ended / *state.requests : -1);
                return absl::OkStatus();
              });
  progress.EndLine();
  return result;
}

absl::StatusOr<std::unique_ptr<OwnServer>> StartShown(
    const BenchFlags& flags, const std::filesystem::path& our_folder) {
  const ProgressStyle style = StyleOf(stderr, flags.quiet);
  const absl::Duration tick =
      style == ProgressStyle::kTerminal ? kTerminalTick : kLineTick;
  Progress progress(stderr, style);
  progress.ShowText("starting a server", -1);
  absl::Duration waited, next = tick;
  auto own = OwnServer::Start(
      flags.own_server, our_folder,
      [&](absl::Duration now, const std::string& event) {
        waited = now;
        if (now < next) return;
        next = now + tick;
        progress.ShowText(absl::StrFormat("the server starts, %.0f s: %s",
                                          absl::ToDoubleSeconds(now), event),
                          -1);
      });
  if (own.ok()) {
    progress.ShowText(
        absl::StrFormat("the server is ready at %s after %.1f s",
                        (*own)->address(), absl::ToDoubleSeconds(waited)),
        -1);
  }
  progress.EndLine();
  return own;
}

// A server of our own that has ended is the reason of all else.
int ComplainUnreachable(const absl::Status& status, OwnServer* own) {
  const absl::Status runs = own ? own->CheckRuns() : absl::OkStatus();
  return Complain((runs.ok() ? status : runs).message(), kExitUnreachable);
}

// `own` is the server if this program started it, else null; `admin` is empty
// if the pool's figures are not wanted.
int RunAgainst(const BenchFlags& flags, const BenchPlan& plan,
               const std::string& server, const std::string& admin,
               OwnServer* own) {
  std::vector<Connection> connections;
  for (int i = 0; i < flags.connections; ++i) {
    auto connection = Connection::Open(server, kPatience);
    if (!connection.ok()) {
      return ComplainUnreachable(connection.status(), own);
    }
    connections.push_back(*std::move(connection));
  }
  const auto description = DescribeServer(connections[0], server);
  if (!description.ok()) {
    return ComplainUnreachable(description.status(), own);
  }
  if (!admin.empty()) {
    const auto pool = GetPool(admin);  // before the load, not after it
    if (!pool.ok()) return ComplainUnreachable(pool.status(), own);
  }

  const auto result = RunShown(server, connections, plan, flags.quiet, own);
  if (!result.ok()) {
    return ComplainUnreachable(result.status(), own);
  }
  const Summary summary =
      Summarize(result->records, result->wall_seconds, plan.latency_limit);
  std::string text = ToText(summary);
  ordered_json json = {{"server", *description},
                       {"client_version", HEATKV_VERSION},
                       {"load", LoadJson(flags)},
                       {"result", ToJson(summary)}};
  if (!admin.empty()) {
    const auto pool = GetPool(admin);
    if (!pool.ok()) return ComplainUnreachable(pool.status(), own);
    absl::StrAppend(&text, PoolText(*pool));
    json["pool"] = PoolJson(*pool);
  }

  absl::Status stopped;
  if (own != nullptr) {
    json["own_server"] = own->ToJson();
    stopped = own->Stop();
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
  if (!stopped.ok()) {
    return Complain(absl::StrCat("when told to stop, ", stopped.message()),
                    kExitFailed);
  }
  if (summary.unintended_count() == 0) return kExitOk;
  return Complain(
      absl::StrCat(summary.unintended_count(), " of ", summary.requests,
                   " requests did not end as intended"),
      kExitFailed);
}

int Run(const BenchFlags& flags, const std::filesystem::path& our_folder,
        const std::string& server, bool is_server_given) {
  const auto plan = MakeBenchPlan(flags);
  if (!plan.ok()) return Complain(plan.status().message(), kExitUsage);
  if (!flags.own_server.IsWanted()) {
    return RunAgainst(flags, *plan, server, flags.admin, nullptr);
  }
  if (is_server_given || !flags.admin.empty()) {
    return Complain(
        absl::StrCat(
            is_server_given ? "--server" : "--admin",
            " names a server that runs; --model, --random_weights, "
            "--device, --config, --tokenizer, --pool and "
            "--server_program start another one: give one or the other"),
        kExitUsage);
  }
  const auto own = StartShown(flags, our_folder);
  if (!own.ok()) {
    return Complain(
        own.status().message(),
        absl::IsInvalidArgument(own.status()) ? kExitUsage : kExitUnreachable);
  }
  return RunAgainst(flags, *plan, (*own)->address(), (*own)->admin_address(),
                    own->get());
}

}  // namespace

void AddBenchCommand(CLI::App& app, const std::filesystem::path& our_folder,
                     const std::string* server, int* exit_code) {
  const auto flags = std::make_shared<BenchFlags>();
  CLI::App* command =
      app.add_subcommand("bench", "Put a load on a server and measure it");
  AddBenchFlags(*command, flags.get());
  command->callback([&app, flags, our_folder, server, exit_code] {
    const bool is_server_given = app.get_option("--server")->count() > 0;
    *exit_code = Run(*flags, our_folder, *server, is_server_given);
  });
}

}  // namespace heatkv::client
