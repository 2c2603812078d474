#include "client/generate_command.h"

#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <system_error>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "base/readable_bytes.h"
#include "client/batch.h"
#include "client/connection.h"
#include "client/generation.h"
#include "client/picture_files.h"
#include "client/progress.h"
#include "client/request_flags.h"

namespace heatkv::client {
namespace {

constexpr absl::Duration kConnectPatience = absl::Seconds(5);

struct GenerateFlags {
  RequestFlags request;
  std::string out = "heatkv.png";
  double timeout = 0;  // seconds; 0: none
  std::string batch, out_dir, format = "png";
  int parallel = 4;
  bool json = false;
  bool quiet = false;
};

int Complain(const std::string& message, int code) {
  std::cerr << "heatkv generate: " << message << "\n";
  return code;
}

absl::Duration Timeout(const GenerateFlags& flags) {
  return flags.timeout > 0 ? absl::Seconds(flags.timeout)
                           : absl::InfiniteDuration();
}

int RunOne(const GenerateFlags& flags, const Connection& connection) {
  const auto format = FormatOf(flags.out);
  if (!format.ok()) {
    return Complain(std::string(format.status().message()), kExitUsage);
  }
  Progress progress(stderr, StyleOf(stderr, flags.quiet));
  const Generated made = Generate(
      connection, MakeRequest(flags.request, *format), flags.out,
      Timeout(flags),
      [&](const v1::GenerateImageEvent& event) { progress.Show(event); });
  progress.EndLine();
  if (!made.file_status.ok()) {
    return Complain(std::string(made.file_status.message()), kExitFailed);
  }
  if (flags.json && !made.pictures.empty()) {
    std::cout << ToJson(made).dump(2) << "\n";
  }
  if (!flags.quiet && !flags.json) {
    for (const Generated::Picture& picture : made.pictures) {
      std::cout << picture.file.string() << "\n";
    }
  }
  if (!made.status.ok()) {
    return Complain(DescribeFailure(made.status), ExitCode(made.status));
  }
  if (!flags.quiet) {
    if (made.granted_tier != made.asked_tier) {
      std::cerr << "granted tier " << made.granted_tier << " (asked for "
                << made.asked_tier << ")\n";
    }
    const v1::Usage& usage = made.usage;
    std::cerr << absl::StreamFormat(
        "%.2f s, %s of cache at peak (%.1f %% of the full cache), seed %d\n",
        usage.total().seconds() + usage.total().nanos() * 1e-9,
        ReadableBytes(usage.peak_cache_bytes()),
        100.0 * usage.peak_cache_bytes() / usage.full_cache_bytes(),
        made.pictures[0].image.recipe().seed());
  }
  return kExitOk;
}

int RunMany(const GenerateFlags& flags, const Connection& connection) {
  const std::map<std::string, v1::ImageFormat> formats = {
      {"png", v1::IMAGE_FORMAT_PNG},
      {"jpeg", v1::IMAGE_FORMAT_JPEG},
      {"webp", v1::IMAGE_FORMAT_WEBP}};
  const v1::ImageFormat format = formats.at(flags.format);
  std::ostringstream text;
  std::ifstream file(flags.batch);
  if (!file || !(text << file.rdbuf())) {
    return Complain(flags.batch + ": cannot be read", kExitUsage);
  }
  const auto items = ParseBatch(text.str(), MakeRequest(flags.request, format));
  if (!items.ok()) {
    return Complain(flags.batch + ":\n" + std::string(items.status().message()),
                    kExitUsage);
  }
  std::error_code error;
  std::filesystem::create_directories(flags.out_dir, error);
  if (error) {
    return Complain(flags.out_dir + ": " + error.message(), kExitFailed);
  }
  BatchOptions options;
  options.folder = flags.out_dir;
  options.parallel = flags.parallel;
  options.timeout = Timeout(flags);
  options.json = flags.json;
  options.quiet = flags.quiet;
  const int failed = RunBatch(connection, *items, options);
  if (failed == 0) return kExitOk;
  return Complain(absl::StrFormat("%d of %d failed", failed, items->size()),
                  kExitFailed);
}

int Run(const GenerateFlags& flags, const std::string& server) {
  if (flags.request.prompt.empty() == flags.batch.empty()) {
    return Complain("give a prompt, or --batch FILE", kExitUsage);
  }
  if (flags.batch.empty() != flags.out_dir.empty()) {
    return Complain("--batch and --out_dir belong together", kExitUsage);
  }
  const auto connection = Connection::Open(server, kConnectPatience);
  if (!connection.ok()) {
    return Complain(std::string(connection.status().message()),
                    kExitUnreachable);
  }
  return flags.batch.empty() ? RunOne(flags, *connection)
                             : RunMany(flags, *connection);
}

}  // namespace

void AddGenerateCommand(CLI::App& app, const std::string* server,
                        int* exit_code) {
  const auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command =
      app.add_subcommand("generate", "Make pictures from a prompt");
  AddRequestFlags(*command, &flags->request);
  command
      ->add_option("--out", flags->out,
                   "File; its ending (.png, .jpg, .webp) is the format")
      ->capture_default_str();
  command->add_option("--timeout", flags->timeout, "Seconds for one request");
  command->add_option("--batch", flags->batch,
                      "File of JSON lines {\"id\", \"prompt\", \"seed\"}");
  command->add_option("--out_dir", flags->out_dir,
                      "Folder for the pictures of --batch, ID.png each");
  command->add_option("--format", flags->format, "Of the pictures of --batch")
      ->check(CLI::IsMember({"png", "jpeg", "webp"}))
      ->capture_default_str();
  command
      ->add_option("--parallel", flags->parallel,
                   "Requests of --batch in flight")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_flag("--json", flags->json, "Print recipe and usage as JSON");
  command->add_flag("--quiet", flags->quiet, "Print errors only");
  command->callback(
      [flags, server, exit_code] { *exit_code = Run(*flags, *server); });
}

}  // namespace heatkv::client
