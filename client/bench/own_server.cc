#include "client/bench/own_server.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "client/connection.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "server/config/server_config.h"

namespace heatkv::client {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(20);
constexpr absl::Duration kHealthPatience = absl::Seconds(10);
// A second signal ends the requests that a server still has.
constexpr absl::Duration kUntilSecondSignal = absl::Seconds(1);
constexpr absl::Duration kStopPatience = absl::Seconds(30);
constexpr std::size_t kOutputRead = 1 << 16;
constexpr std::size_t kLinesShown = 10;

// Connects only where the health service says SERVING; only this policy asks.
constexpr char kAskHealth[] =
    R"({"loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": "heatkv.v1.ImageGeneration"}})";

absl::Status AwaitServing(const std::string& address) {
  grpc::ChannelArguments arguments = ChannelSettings();
  arguments.SetServiceConfigJSON(kAskHealth);
  const auto channel = grpc::CreateCustomChannel(
      address, grpc::InsecureChannelCredentials(), arguments);
  if (channel->WaitForConnected(
          absl::ToChronoTime(absl::Now() + kHealthPatience))) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(
      absl::StrCat("the server at ", address, " does not say SERVING within ",
                   absl::FormatDuration(kHealthPatience)));
}

// The word behind the last "event="; empty if there is none.
std::string LastEvent(const std::string& output) {
  const std::size_t found = output.rfind(" event=");
  if (found == std::string::npos) return "";
  const std::size_t begin = found + 7;
  return output.substr(begin, output.find_first_of(" \n", begin) - begin);
}

// "grpc: 123\nmetrics: ..."
std::map<std::string, std::string> ReadPorts(
    const std::filesystem::path& file) {
  std::map<std::string, std::string> ports;
  std::ifstream stream(file);
  for (std::string name, port; stream >> name >> port;) ports[name] = port;
  return ports;
}

nlohmann::ordered_json Describe(const OwnServerFlags& flags,
                                const std::filesystem::path& program) {
  server::ServerConfig config;
  if (!flags.config.empty()) {
    // The server itself says what is wrong with it.
    auto loaded = server::LoadServerConfig(flags.config);
    if (loaded.ok()) config = *std::move(loaded);
  }
  const auto chosen = [](const std::string& flag, const std::string& other) {
    return flag.empty() ? other : flag;
  };
  std::optional<std::uint64_t> seed = config.random_weights;
  if (const auto given = server::ParseRandomWeights(flags.random_weights);
      given.ok() && given->has_value()) {
    seed = *given;
  }
  nlohmann::ordered_json json = {
      {"program", program.string()},
      {"model", chosen(flags.model, config.model)},
      {"random_weights", nullptr},
      {"device", chosen(flags.device, config.device)},
      {"tokenizer", chosen(flags.tokenizer, config.tokenizer)},
      {"config", flags.config}};
  if (seed.has_value()) json["random_weights"] = *seed;
  return json;
}

}  // namespace

bool OwnServerFlags::IsWanted() const {
  return !program.empty() || !ServerArguments(*this).empty();
}

std::vector<std::string> ServerArguments(const OwnServerFlags& flags) {
  std::vector<std::string> arguments;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) arguments.push_back(absl::StrCat(name, "=", value));
  };
  add("--config", flags.config);
  add("--model", flags.model);
  add("--random_weights", flags.random_weights);
  add("--tokenizer", flags.tokenizer);
  add("--device", flags.device);
  add("--pool", flags.pool);
  return arguments;
}

std::string LastComplaints(const std::string& output) {
  const std::vector<absl::string_view> all =
      absl::StrSplit(output, '\n', absl::SkipWhitespace());
  std::vector<absl::string_view> lines;
  for (const absl::string_view line : all) {
    if (!absl::StrContains(line, " level=info ")) lines.push_back(line);
  }
  if (lines.empty()) lines = all;
  const std::size_t left_out =
      lines.size() - std::min(lines.size(), kLinesShown);
  return absl::StrJoin(lines.begin() + static_cast<std::ptrdiff_t>(left_out),
                       lines.end(), "\n");
}

// The signal's thread keeps the mutex until the process is gone.
OwnServer::OwnServer()
    : interruption_(std::make_unique<Interruption>([this] {
        mutex_.lock();
        StopChild();
        std::fputs("\nheatkv bench: interrupted; its server was stopped\n",
                   stderr);
      })) {}

OwnServer::~OwnServer() {
  const std::lock_guard<std::mutex> lock(mutex_);
  StopChild();
}

absl::StatusOr<std::unique_ptr<OwnServer>> OwnServer::Start(
    const OwnServerFlags& flags, const std::filesystem::path& our_folder,
    const OnWait& on_wait) {
  std::unique_ptr<OwnServer> server(new OwnServer());
  RETURN_IF_ERROR(server->Launch(flags, our_folder));
  RETURN_IF_ERROR(server->AwaitPorts(on_wait));
  RETURN_IF_ERROR(AwaitServing(server->address_));
  RETURN_IF_ERROR(server->CheckRuns());
  return server;
}

absl::Status OwnServer::Launch(const OwnServerFlags& flags,
                               const std::filesystem::path& our_folder) {
  program_ =
      flags.program.empty() ? our_folder / "heatkv_server" : flags.program;
  std::error_code error;
  if (!std::filesystem::is_regular_file(program_, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no program ", program_.string(),
                     "; say where it is with --server_program FILE"));
  }
  description_ = Describe(flags, program_);
  std::vector<std::string> arguments = ServerArguments(flags);
  const std::lock_guard<std::mutex> lock(mutex_);
  std::string folder =
      (std::filesystem::temp_directory_path(error) / "heatkv-bench-XXXXXX")
          .string();
  if (mkdtemp(folder.data()) == nullptr) {
    return absl::InternalError(
        absl::StrCat(folder, ": cannot be made: ", std::strerror(errno)));
  }
  folder_ = folder;
  arguments.insert(arguments.end(),
                   {"--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
                    "--admin_listen=127.0.0.1:0",
                    absl::StrCat("--port_file=", folder, "/ports")});
  ASSIGN_OR_RETURN(
      child_, ChildProcess::Start(std::filesystem::absolute(program_, error),
                                  arguments, folder_ / "log"));
  return absl::OkStatus();
}

absl::Status OwnServer::AwaitPorts(const OnWait& on_wait) {
  const absl::Time begin = absl::Now();
  std::string event;
  while (true) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (const auto end = child_->Poll(); end.has_value()) return Ended(*end);
      if (auto ports = ReadPorts(folder_ / "ports"); !ports.empty()) {
        address_ = absl::StrCat("127.0.0.1:", ports["grpc:"]);
        admin_address_ = absl::StrCat("127.0.0.1:", ports["admin:"]);
        std::error_code error;
        // Its log is written and read on without a name.
        std::filesystem::remove_all(folder_, error);
        folder_.clear();
        break;
      }
      event = LastEvent(child_->LastOutput(kOutputRead));
    }
    on_wait(absl::Now() - begin, event);
    absl::SleepFor(kPollInterval);
  }
  description_["start_seconds"] = absl::ToDoubleSeconds(absl::Now() - begin);
  return absl::OkStatus();
}

absl::Status OwnServer::CheckRuns() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto end = child_->Poll(); end.has_value()) return Ended(*end);
  return absl::OkStatus();
}

absl::Status OwnServer::Stop() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const ProcessEnd end = StopChild();
  return end.ok() ? absl::OkStatus() : Ended(end);
}

ProcessEnd OwnServer::StopChild() {
  std::error_code error;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, error);
  folder_.clear();
  return child_ == nullptr ? ProcessEnd{}
                           : child_->Stop(kUntilSecondSignal, kStopPatience);
}

absl::Status OwnServer::Ended(const ProcessEnd& end) const {
  return absl::UnavailableError(
      absl::StrCat(program_.string(), " ended with ", client::Describe(end),
                   ":\n", LastComplaints(child_->LastOutput(kOutputRead))));
}

nlohmann::ordered_json OwnServer::ToJson() const { return description_; }

}  // namespace heatkv::client
