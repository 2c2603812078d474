// heatkv_server: serves one model folder until it is told to stop.
//
//   heatkv_server [--config FILE] [--model FOLDER] [--listen HOST:PORT] ...
//   heatkv_server --check_config [--config FILE]
//   heatkv_server --model infinity-2b --random-weights 1
//       --tokenizer models/default --device cuda
//
// The last serves the size of a model without its weights, for measurements.
//
// Exit status: 0 after a drain, a good --check_config or a signal during the
// start; 1 for a command line, configuration or address that cannot be used; 2
// for a model folder that cannot be used; 3 if the server was told to stop and
// something in it was stuck, 5 s after drain_deadline (event `stuck`).
//
// SIGTERM or SIGINT: health checks answer NOT_SERVING, new requests are refused
// with UNAVAILABLE, those in flight may finish until drain_deadline; a second
// signal ends them at once.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "server/config/capacity.h"
#include "server/config/server_config.h"
#include "server/load_model.h"
#include "server/shutdown_watchdog.h"
#include "server/startup.h"
#include "server/termination.h"

ABSL_FLAG(std::string, config, "", "YAML file; see deploy/heatkv.yaml");
ABSL_FLAG(bool, check_config, false,
          "print the effective configuration and what it means, and exit");
ABSL_FLAG(std::string, model, "",
          "model folder, or the name of one below models/ (key model)");
ABSL_FLAG(std::string, random_weights, "",
          "seed of weights that are drawn instead of read, for measurements "
          "(key random_weights)");
ABSL_FLAG(std::string, tokenizer, "",
          "with random weights: file or folder that has a tokenizer (key "
          "tokenizer)");
ABSL_FLAG(std::string, pixel_classes, "",
          "sizes that are offered, like 1M,0.25M (key pixel_classes)");
ABSL_FLAG(std::string, device, "",
          "cpu, cuda, cuda:N, several like cuda:0,cuda:1, or all (key device)");
ABSL_FLAG(std::string, listen, "", "gRPC address, host:port (key listen)");
ABSL_FLAG(std::string, metrics_listen, "",
          "metrics address, host:port (key metrics_listen)");
ABSL_FLAG(std::string, admin_listen, "",
          "address of the Admin service, host:port (key admin_listen)");
ABSL_FLAG(std::string, pool, "", "size of the pool (key cache.pool)");
ABSL_FLAG(std::string, default_tier, "", "tier (key default_tier)");
ABSL_FLAG(int, threads, -1, "threads of the model (key threads)");
ABSL_FLAG(std::string, port_file, "",
          "file to write the bound ports to, once the server is ready");

namespace heatkv::server {
namespace {

constexpr int kExitConfiguration = 1;
constexpr int kExitModel = 2;

// What ends after its time is stuck.
constexpr absl::Duration kPatience = absl::Seconds(5);

int Fail(const absl::Status& status, StartFault fault) {
  std::fprintf(stderr, "heatkv_server: error: %s\n",
               std::string(status.message()).c_str());
  return fault == StartFault::kModel ? kExitModel : kExitConfiguration;
}

// Nothing if the flag is not there.
absl::StatusOr<std::optional<std::uint64_t>> RandomWeightsFlag() {
  const std::string flag = absl::GetFlag(FLAGS_random_weights);
  auto seed = ParseRandomWeights(flag.empty() ? "none" : flag);
  if (!seed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--random_weights ", seed.status().message()));
  }
  return seed;
}

absl::StatusOr<std::vector<std::string>> PixelClassesFlag() {
  const std::string flag = absl::GetFlag(FLAGS_pixel_classes);
  auto classes = ParsePixelClasses(flag.empty() ? "auto" : flag);
  if (!classes.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--pixel_classes ", classes.status().message()));
  }
  return classes;
}

// What the command line decides whatever a file says, also one that comes later
// over the Admin service: what cannot change while the server runs.
void ApplyLastingFlags(ServerConfig* config) {
  const auto replace = [](const std::string& flag, std::string* value) {
    if (!flag.empty()) *value = flag;
  };
  replace(absl::GetFlag(FLAGS_model), &config->model);
  // What cannot be read was refused by ReadConfiguration.
  if (const auto seed = RandomWeightsFlag(); seed.ok() && seed->has_value()) {
    config->random_weights = **seed;
  }
  replace(absl::GetFlag(FLAGS_tokenizer), &config->tokenizer);
  if (const auto classes = PixelClassesFlag();
      classes.ok() && !classes->empty()) {
    config->pixel_classes = *classes;
  }
  replace(absl::GetFlag(FLAGS_device), &config->device);
  replace(absl::GetFlag(FLAGS_listen), &config->listen);
  replace(absl::GetFlag(FLAGS_metrics_listen), &config->metrics_listen);
  replace(absl::GetFlag(FLAGS_admin_listen), &config->admin_listen);
  if (const int threads = absl::GetFlag(FLAGS_threads); threads >= 0) {
    config->threads = threads;
  }
}

absl::StatusOr<ServerConfig> ReadConfiguration() {
  ServerConfig config;
  if (const std::string file = absl::GetFlag(FLAGS_config); !file.empty()) {
    absl::StatusOr<ServerConfig> loaded = LoadServerConfig(file);
    if (!loaded.ok()) return loaded.status();
    config = *std::move(loaded);
  }
  RETURN_IF_ERROR(RandomWeightsFlag().status());
  RETURN_IF_ERROR(PixelClassesFlag().status());
  ApplyLastingFlags(&config);
  if (const std::string tier = absl::GetFlag(FLAGS_default_tier);
      !tier.empty()) {
    config.default_tier = tier;
  }
  if (const std::string pool = absl::GetFlag(FLAGS_pool); !pool.empty()) {
    const absl::StatusOr<PoolSize> size = ParsePoolSize(pool);
    if (!size.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--pool: ", size.status().message()));
    }
    config.pool = *size;
  }
  return config;
}

// Appears complete or not at all.
absl::Status WritePortFile(const std::string& file,
                           const RunningServer& server) {
  const std::string partial = file + ".partial";
  {
    std::ofstream stream(partial);
    stream << "grpc: " << server.port()
           << "\nmetrics: " << server.metrics_port()
           << "\nadmin: " << server.admin_port() << "\n";
    if (!stream.flush()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--port_file: cannot write ", partial));
    }
  }
  if (std::rename(partial.c_str(), file.c_str()) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--port_file: cannot write ", file));
  }
  return absl::OkStatus();
}

// Until every request has ended.
void ServeUntilSignalled(RunningServer* server,
                         const TerminationSignals& signals,
                         absl::Duration drain, ShutdownWatchdog* watchdog,
                         EventLog* log) {
  while (!signals.Await(absl::InfiniteDuration())) {
  }
  // Before all that could be stuck.
  watchdog->Arm(drain + kPatience);
  log->Write(LogLevel::kInfo, "draining",
             {{"deadline_seconds", absl::ToDoubleSeconds(drain)}});
  server->BeginStop(absl::Now() + drain);
  while (!server->AwaitIdle(absl::Milliseconds(50))) {
    if (signals.Await(absl::ZeroDuration())) {
      watchdog->Arm(kPatience);
      log->Write(LogLevel::kWarning, "drain_cut_short");
      server->BeginStop(absl::InfinitePast());
    }
  }
}

absl::StatusOr<std::unique_ptr<RunningServer>> StartServer(
    ServingPlan plan, const TerminationSignals& signals, EventLog* log,
    StartFault* fault) {
  log->Write(LogLevel::kInfo, "starting",
             {{"version", HEATKV_VERSION}, {"model", plan.config.model}});
  for (const std::string& reason : plan.left_out) {
    log->Write(LogLevel::kInfo, "size_not_offered", {{"message", reason}});
  }
  // Nothing was promised to anybody yet.
  const TerminationListener listener(signals, [log] {
    log->WriteWithoutWaiting("stopped", {{"message", "during the start"}});
    _exit(0);
  });
  return RunningServer::Start(std::move(plan), HEATKV_VERSION,
                              ApplyLastingFlags, log, fault);
}

absl::StatusOr<ServingPlan> MakePlan(const ServerConfig& config,
                                     StartFault* fault) {
  *fault = StartFault::kConfiguration;
  RETURN_IF_ERROR(Validate(config));
  ASSIGN_OR_RETURN(std::vector<std::string> devices, FindDevices(config));
  // All pools are alike.
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (const std::string& device : devices) {
    ASSIGN_OR_RETURN(const model::DeviceMemory memory,
                     ReadDeviceMemory(device));
    least = std::min(least, memory.total);
  }
  ASSIGN_OR_RETURN(ServingPlan plan, MakeServingPlan(config, least, fault));
  *fault = StartFault::kConfiguration;
  plan.devices = std::move(devices);
  ASSIGN_OR_RETURN(plan.memory, AccountForMemory(plan));
  if (FitPool(&plan)) {
    ASSIGN_OR_RETURN(plan.memory, AccountForMemory(plan));
  }
  return plan;
}

// What the pool holds, and what everything takes of the memory.
std::string DescribePlan(const ServingPlan& plan) {
  std::string text;
  if (plan.devices.size() > 1) {
    absl::StrAppend(&text, plan.devices.size(), " devices (",
                    absl::StrJoin(plan.devices, ", "), "), on each of them:\n");
  }
  absl::StrAppend(
      &text, DescribeCapacity(plan.folder.spec, *plan.book, plan.pool_blocks));
  for (const model::MemoryAccount& account : plan.memory) {
    absl::StrAppend(&text, model::DescribeAccount(account), "\n");
  }
  return text;
}

int Run() {
  const TerminationSignals signals;
  const absl::StatusOr<ServerConfig> config = ReadConfiguration();
  if (!config.ok()) return Fail(config.status(), StartFault::kConfiguration);
  StartFault fault = StartFault::kConfiguration;
  absl::StatusOr<ServingPlan> plan = MakePlan(*config, &fault);
  if (!plan.ok()) return Fail(plan.status(), fault);
  const std::string meaning = DescribePlan(*plan);
  if (absl::GetFlag(FLAGS_check_config)) {
    std::printf("%s\n%s", ToYaml(*config).c_str(), meaning.c_str());
    return 0;
  }

  EventLog log(stderr);
  auto server = StartServer(*std::move(plan), signals, &log, &fault);
  if (!server.ok()) return Fail(server.status(), fault);
  std::printf(
      "heatkv_server %s: gRPC on port %d, metrics on port %d, admin on port "
      "%d\n%s",
      HEATKV_VERSION, (*server)->port(), (*server)->metrics_port(),
      (*server)->admin_port(), meaning.c_str());
  std::fflush(stdout);
  if (const std::string file = absl::GetFlag(FLAGS_port_file); !file.empty()) {
    const absl::Status written = WritePortFile(file, **server);
    if (!written.ok()) return Fail(written, StartFault::kConfiguration);
  }
  log.Write(LogLevel::kInfo, "ready",
            {{"version", HEATKV_VERSION},
             {"model", config->model},
             {"port", (*server)->port()},
             {"metrics_port", (*server)->metrics_port()},
             {"admin_port", (*server)->admin_port()}});
  ShutdownWatchdog watchdog([&log] { ExitStuck(&log); });
  ServeUntilSignalled(server->get(), signals, config->drain_deadline, &watchdog,
                      &log);
  watchdog.Arm(kPatience);
  if (!(*server)->Stop()) ExitStuck(&log);
  server->reset();
  log.Write(LogLevel::kInfo, "stopped");
  return 0;
}

// --random-weights=1 is --random_weights=1.
void SpellFlagWithUnderscores(char* argument) {
  if (argument[0] != '-' || argument[1] != '-') return;
  for (char* c = argument + 2; *c != '\0' && *c != '='; ++c) {
    if (*c == '-') *c = '_';
  }
}

}  // namespace
}  // namespace heatkv::server

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "serves an Infinity model over gRPC\n"
      "  heatkv_server [--config FILE] [--model FOLDER] [--listen HOST:PORT]");
  for (int i = 1; i < argc; ++i)
    heatkv::server::SpellFlagWithUnderscores(argv[i]);
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  if (rest.size() > 1) {
    std::fprintf(stderr, "heatkv_server: error: unexpected argument %s\n",
                 rest[1]);
    return 1;
  }
  return heatkv::server::Run();
}
