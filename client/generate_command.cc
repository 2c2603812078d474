#include "client/generate_command.h"

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <system_error>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "client/batch.h"
#include "client/connection.h"
#include "client/generation.h"
#include "client/picture_files.h"
#include "client/progress.h"

namespace heatkv::client {
namespace {

constexpr absl::Duration kConnectPatience = absl::Seconds(5);

struct GenerateFlags {
  std::string prompt;
  std::string out = "heatkv.png";
  std::optional<std::uint64_t> seed;
  std::vector<std::uint64_t> seeds;
  int n = 0;
  std::string tier, aspect, pixel_class, request_id;
  std::optional<double> guidance, tau, top_p;
  int quality = 0;
  bool previews = false;
  std::vector<int> preview_scales;
  int preview_edge = 0;
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

v1::GenerateImageRequest MakeRequest(const GenerateFlags& flags,
                                     v1::ImageFormat format) {
  v1::GenerateImageRequest request;
  request.set_prompt(flags.prompt);
  request.set_n(flags.n);
  if (!flags.aspect.empty()) request.mutable_size()->set_aspect(flags.aspect);
  if (!flags.pixel_class.empty()) {
    request.mutable_size()->set_pixel_class(flags.pixel_class);
  }
  if (flags.seed.has_value()) request.set_seed(*flags.seed);
  for (const std::uint64_t seed : flags.seeds) request.add_seeds(seed);
  if (flags.guidance.has_value()) request.set_guidance(*flags.guidance);
  if (flags.tau.has_value()) request.set_tau(*flags.tau);
  if (flags.top_p.has_value()) request.set_top_p(*flags.top_p);
  request.set_tier(flags.tier);
  request.set_format(format);
  request.set_quality(flags.quality);
  request.set_request_id(flags.request_id);
  if (flags.previews || !flags.preview_scales.empty()) {
    v1::PreviewOptions& previews = *request.mutable_previews();
    previews.set_every_scale(flags.previews);
    for (const int scale : flags.preview_scales) previews.add_scales(scale);
    previews.set_max_edge(flags.preview_edge);
  }
  return request;
}

absl::Duration Timeout(const GenerateFlags& flags) {
  return flags.timeout > 0 ? absl::Seconds(flags.timeout)
                           : absl::InfiniteDuration();
}

ProgressStyle StyleOf(const GenerateFlags& flags) {
  if (flags.quiet) return ProgressStyle::kNone;
  return isatty(STDERR_FILENO) ? ProgressStyle::kTerminal
                               : ProgressStyle::kLines;
}

int RunOne(const GenerateFlags& flags, const Connection& connection) {
  const auto format = FormatOf(flags.out);
  if (!format.ok()) {
    return Complain(std::string(format.status().message()), kExitUsage);
  }
  Progress progress(stderr, StyleOf(flags));
  const Generated made = Generate(
      connection, MakeRequest(flags, *format), flags.out, Timeout(flags),
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
  const auto items = ParseBatch(text.str(), MakeRequest(flags, format));
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
  options.ending = EndingOf(format);
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
  if (flags.prompt.empty() == flags.batch.empty()) {
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
  command->add_option("prompt", flags->prompt, "What to paint");
  command
      ->add_option("--out", flags->out,
                   "File; its ending (.png, .jpg, .webp) is the format")
      ->capture_default_str();
  auto* seed = command->add_option("--seed", flags->seed, "Of the first image");
  command->add_option("--seeds", flags->seeds, "One for each image")
      ->delimiter(',')
      ->excludes(seed);
  command->add_option("--n", flags->n, "Number of images")
      ->check(CLI::Range(1, 1000));
  command->add_option("--tier", flags->tier, "Memory budget, by its name");
  command->add_option("--aspect", flags->aspect, "height:width, such as 1:1");
  command->add_option("--pixel_class", flags->pixel_class,
                      "Amount of pixels, by the model's name for it");
  command->add_option("--guidance", flags->guidance,
                      "Classifier-free guidance; 1 is none");
  command->add_option("--tau", flags->tau, "Temperature");
  command->add_option("--top_p", flags->top_p, "Nucleus");
  command->add_option("--quality", flags->quality, "Of JPEG and WebP, 1 to 100")
      ->check(CLI::Range(1, 100));
  command->add_flag("--previews", flags->previews,
                    "Write a preview after every scale");
  command
      ->add_option("--preview_scales", flags->preview_scales,
                   "Write previews after these scales, such as 4,6")
      ->delimiter(',');
  command->add_option("--preview_edge", flags->preview_edge,
                      "Longest side of previews in pixels");
  command->add_option("--timeout", flags->timeout, "Seconds for one request");
  command->add_option("--request_id", flags->request_id,
                      "Name of the request in the server's log");
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
