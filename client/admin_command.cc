#include "client/admin_command.h"

#include <unistd.h>

#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/connection.h"
#include "client/durations.h"
#include "client/message_json.h"
#include "client/pool_text.h"
#include "grpcpp/client_context.h"

namespace heatkv::client {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(5);

using Stub = v1::Admin::Stub;

struct AdminFlags {
  std::string address;
  bool json = false;
  bool watch = false;
  bool per_head = false;
  std::string interval = "1s";
  std::string file;
  bool dry_run = false;
  std::string level;
  int limit = 0;
};

int Complain(absl::string_view message, int code) {
  std::cerr << "heatkv admin: " << message << "\n";
  return code;
}

int Failed(const grpc::Status& status) {
  return Complain(DescribeFailure(status), ExitCode(status));
}

template <typename Request, typename Response>
grpc::Status Call(Stub* stub,
                  grpc::Status (Stub::*method)(grpc::ClientContext*,
                                               const Request&, Response*),
                  const Request& request, Response* response) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  return (stub->*method)(&context, request, response);
}

int ShowPool(const AdminFlags& flags, Stub* stub) {
  v1::GetPoolRequest request;
  request.set_per_head(flags.per_head);
  v1::PoolView pool;
  const grpc::Status status = Call(stub, &Stub::GetPool, request, &pool);
  if (!status.ok()) return Failed(status);
  if (flags.json) return PrintJson(pool);
  std::cout << PoolText(pool, flags.per_head);
  return kExitOk;
}

// Until the server ends it or the program is interrupted.
int WatchPool(const AdminFlags& flags, Stub* stub) {
  absl::Duration interval;
  if (!ReadDuration(flags.interval, &interval)) {
    return Complain(absl::StrCat("--interval ", flags.interval,
                                 ": is no duration such as 500ms or 2s"),
                    kExitUsage);
  }
  v1::WatchPoolRequest request;
  request.set_per_head(flags.per_head);
  const auto seconds =
      absl::IDivDuration(interval, absl::Seconds(1), &interval);
  request.mutable_interval()->set_seconds(seconds);
  request.mutable_interval()->set_nanos(
      static_cast<int>(absl::ToInt64Nanoseconds(interval)));
  grpc::ClientContext context;
  const auto reader = stub->WatchPool(&context, request);
  const bool is_terminal = isatty(STDOUT_FILENO) != 0;
  v1::PoolView pool;
  while (reader->Read(&pool)) {
    if (flags.json) {
      const auto json = ToJsonValue(pool);
      if (!json.ok()) return Complain(json.status().message(), kExitFailed);
      std::cout << json->dump() << "\n";
    } else {
      // To the upper left corner, and clear the screen.
      std::cout << (is_terminal ? "\033[H\033[J" : "")
                << PoolText(pool, flags.per_head) << (is_terminal ? "" : "\n");
    }
    std::cout.flush();
    if (!std::cout) return kExitFailed;  // nobody reads
  }
  const grpc::Status status = reader->Finish();
  return status.ok() ? kExitOk : Failed(status);
}

int Pool(const AdminFlags& flags, Stub* stub) {
  return flags.watch ? WatchPool(flags, stub) : ShowPool(flags, stub);
}

int Drain(const AdminFlags&, Stub* stub) {
  v1::DrainResponse response;
  const auto status = Call(stub, &Stub::Drain, v1::DrainRequest(), &response);
  if (!status.ok()) return Failed(status);
  std::cout << "draining: no more requests are taken\n";
  return kExitOk;
}

int Undrain(const AdminFlags&, Stub* stub) {
  v1::UndrainResponse response;
  const auto status =
      Call(stub, &Stub::Undrain, v1::UndrainRequest(), &response);
  if (!status.ok()) return Failed(status);
  std::cout << "requests are taken again\n";
  return kExitOk;
}

int Apply(const AdminFlags& flags, Stub* stub) {
  std::ostringstream text;
  std::ifstream file(flags.file);
  if (!file || !(text << file.rdbuf())) {
    return Complain(flags.file + ": cannot be read", kExitUsage);
  }
  v1::ApplyConfigRequest request;
  request.set_yaml(text.str());
  request.set_dry_run(flags.dry_run);
  v1::ApplyConfigResponse response;
  const auto status = Call(stub, &Stub::ApplyConfig, request, &response);
  if (!status.ok()) return Failed(status);
  if (flags.json) return PrintJson(response);
  for (const v1::ConfigChange& change : response.changes()) {
    std::cout << change.key() << ": " << change.before() << " -> "
              << change.after() << "\n";
  }
  std::cout << response.capacity();
  if (!response.capacity().empty() && response.capacity().back() != '\n') {
    std::cout << "\n";
  }
  std::cout << (response.changes().empty() ? "nothing changes\n"
                : response.applied()       ? "applied\n"
                                           : "not applied (dry run)\n");
  return kExitOk;
}

int LogLevel(const AdminFlags& flags, Stub* stub) {
  v1::SetLogLevelRequest request;
  request.set_level(flags.level);
  v1::SetLogLevelResponse response;
  const auto status = Call(stub, &Stub::SetLogLevel, request, &response);
  if (!status.ok()) return Failed(status);
  std::cout << "log level " << flags.level << ", was " << response.before()
            << "\n";
  return kExitOk;
}

int Requests(const AdminFlags& flags, Stub* stub) {
  v1::ListRequestsRequest request;
  request.set_limit(flags.limit);
  v1::ListRequestsResponse response;
  const auto status = Call(stub, &Stub::ListRequests, request, &response);
  if (!status.ok()) return Failed(status);
  if (flags.json) return PrintJson(response);
  std::cout << RequestsText(response);
  return kExitOk;
}

}  // namespace

void AddAdminCommand(CLI::App& app, const std::string& address,
                     int* exit_code) {
  using Verb = int (*)(const AdminFlags&, Stub*);
  const auto flags = std::make_shared<AdminFlags>();
  flags->address = address;
  CLI::App* group = app.add_subcommand("admin", "The operator's port");
  group->require_subcommand(1);
  group
      ->add_option("--admin", flags->address,
                   "Address of the operator's port (or HEATKV_ADMIN)")
      ->capture_default_str();
  const auto add = [&](const char* name, const char* what, Verb verb) {
    CLI::App* command = group->add_subcommand(name, what);
    command->callback([flags, exit_code, verb] {
      const auto admin = OpenAdmin(flags->address, kPatience);
      *exit_code = admin.ok()
                       ? verb(*flags, admin->get())
                       : Complain(admin.status().message(), kExitUnreachable);
    });
    return command;
  };
  const auto add_json = [&](CLI::App* command) {
    command->add_flag("--json", flags->json, "Print the whole answer as JSON");
  };
  CLI::App* pool = add("pool", "Show who holds what of the pool", Pool);
  pool->add_flag("--watch", flags->watch, "Again and again");
  pool->add_option("--interval", flags->interval, "Of --watch, at least 100ms")
      ->capture_default_str();
  pool->add_flag("--per_head", flags->per_head, "Also the heads of each image");
  add_json(pool);
  add("drain", "Take no more requests; what was accepted goes on", Drain);
  add("undrain", "Take requests again", Undrain);
  CLI::App* apply =
      add("apply", "Bring the server to a new configuration", Apply);
  apply->add_option("file", flags->file, "YAML, as the server's own")
      ->required();
  apply->add_flag("--dry_run", flags->dry_run, "Only say what it would mean");
  add_json(apply);
  CLI::App* level = add("log-level", "Set what the server logs", LogLevel);
  level->add_option("level", flags->level, "info, warning or error")
      ->required();
  CLI::App* requests =
      add("requests", "Show the last requests that ended", Requests);
  requests->add_option("--limit", flags->limit, "At most this many")
      ->check(CLI::Range(1, 1000000));
  add_json(requests);
}

}  // namespace heatkv::client
