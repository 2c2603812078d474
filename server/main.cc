// heatkv_server: serves one model folder until it is told to stop.
//
//   heatkv_server [--config FILE] [--model FOLDER] [--listen HOST:PORT] ...
//   heatkv_server --check_config [--config FILE]
//
// Exit status: 0 after a drain or a good --check_config; 1 for a command line,
// configuration or address that cannot be used; 2 for a model folder that
// cannot be used.
//
// SIGTERM or SIGINT: health checks answer NOT_SERVING, new requests are refused
// with UNAVAILABLE, those in flight may finish until drain_deadline; a second
// signal ends them at once.

#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/config/capacity.h"
#include "server/config/server_config.h"
#include "server/startup.h"

ABSL_FLAG(std::string, config, "", "YAML file; see deploy/heatkv.yaml");
ABSL_FLAG(bool, check_config, false,
          "print the effective configuration and what it means, and exit");
ABSL_FLAG(std::string, model, "", "model folder (key model)");
ABSL_FLAG(std::string, listen, "", "gRPC address, host:port (key listen)");
ABSL_FLAG(std::string, metrics_listen, "",
          "metrics address, host:port (key metrics_listen)");
ABSL_FLAG(std::string, pool, "", "size of the pool (key cache.pool)");
ABSL_FLAG(std::string, default_tier, "", "tier (key default_tier)");
ABSL_FLAG(int, threads, -1, "threads of the model (key threads)");
ABSL_FLAG(std::string, port_file, "",
          "file to write the bound ports to, once the server is ready");

namespace heatkv::server {
namespace {

constexpr int kExitConfiguration = 1;
constexpr int kExitModel = 2;

int Fail(const absl::Status& status, StartFault fault) {
  std::fprintf(stderr, "heatkv_server: error: %s\n",
               std::string(status.message()).c_str());
  return fault == StartFault::kModel ? kExitModel : kExitConfiguration;
}

absl::StatusOr<ServerConfig> ReadConfiguration() {
  ServerConfig config;
  if (const std::string file = absl::GetFlag(FLAGS_config); !file.empty()) {
    absl::StatusOr<ServerConfig> loaded = LoadServerConfig(file);
    if (!loaded.ok()) return loaded.status();
    config = *std::move(loaded);
  }
  const auto replace = [](const std::string& flag, std::string* value) {
    if (!flag.empty()) *value = flag;
  };
  replace(absl::GetFlag(FLAGS_model), &config.model);
  replace(absl::GetFlag(FLAGS_listen), &config.listen);
  replace(absl::GetFlag(FLAGS_metrics_listen), &config.metrics_listen);
  replace(absl::GetFlag(FLAGS_default_tier), &config.default_tier);
  if (const int threads = absl::GetFlag(FLAGS_threads); threads >= 0) {
    config.threads = threads;
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
           << "\nmetrics: " << server.metrics_port() << "\n";
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

// Waits for a signal, at most `timeout`.  Whether one came.
bool AwaitSignal(const sigset_t& signals, absl::Duration timeout) {
  if (timeout == absl::InfiniteDuration()) {
    return sigwaitinfo(&signals, nullptr) > 0;
  }
  const timespec limit = absl::ToTimespec(timeout);
  return sigtimedwait(&signals, nullptr, &limit) > 0;
}

void ServeUntilSignalled(RunningServer* server, const sigset_t& signals,
                         absl::Duration drain, EventLog* log) {
  while (!AwaitSignal(signals, absl::InfiniteDuration())) {
  }
  log->Write(LogLevel::kInfo, "draining",
             {{"deadline_seconds", absl::ToDoubleSeconds(drain)}});
  server->BeginDrain(absl::Now() + drain);
  while (!server->AwaitIdle(absl::Milliseconds(50))) {
    if (AwaitSignal(signals, absl::ZeroDuration())) {
      log->Write(LogLevel::kWarning, "drain_cut_short");
      server->BeginDrain(absl::InfinitePast());
    }
  }
}

int Run() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  // Blocked in every thread, so that only AwaitSignal sees them.
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  const absl::StatusOr<ServerConfig> config = ReadConfiguration();
  if (!config.ok()) return Fail(config.status(), StartFault::kConfiguration);
  StartFault fault = StartFault::kConfiguration;
  absl::StatusOr<ServingPlan> plan = MakeServingPlan(*config, &fault);
  if (!plan.ok()) return Fail(plan.status(), fault);
  const std::string capacity =
      DescribeCapacity(plan->folder.spec, plan->book, plan->pool_blocks);
  if (absl::GetFlag(FLAGS_check_config)) {
    std::printf("%s\n%s", ToYaml(*config).c_str(), capacity.c_str());
    return 0;
  }

  EventLog log(stderr);
  auto server =
      RunningServer::Start(*std::move(plan), HEATKV_VERSION, &log, &fault);
  if (!server.ok()) return Fail(server.status(), fault);
  std::printf("heatkv_server %s: gRPC on port %d, metrics on port %d\n%s",
              HEATKV_VERSION, (*server)->port(), (*server)->metrics_port(),
              capacity.c_str());
  std::fflush(stdout);
  if (const std::string file = absl::GetFlag(FLAGS_port_file); !file.empty()) {
    const absl::Status written = WritePortFile(file, **server);
    if (!written.ok()) return Fail(written, StartFault::kConfiguration);
  }
  log.Write(LogLevel::kInfo, "ready",
            {{"version", HEATKV_VERSION},
             {"model", config->model},
             {"port", (*server)->port()},
             {"metrics_port", (*server)->metrics_port()}});
  ServeUntilSignalled(server->get(), signals, config->drain_deadline, &log);
  server->reset();
  log.Write(LogLevel::kInfo, "stopped");
  return 0;
}

}  // namespace
}  // namespace heatkv::server

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "serves an Infinity model over gRPC\n"
      "  heatkv_server [--config FILE] [--model FOLDER] [--listen HOST:PORT]");
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  if (rest.size() > 1) {
    std::fprintf(stderr, "heatkv_server: error: unexpected argument %s\n",
                 rest[1]);
    return 1;
  }
  return heatkv::server::Run();
}
