#include "client/capabilities_command.h"

#include <iostream>
#include <memory>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/readable_bytes.h"
#include "client/connection.h"
#include "client/message_json.h"
#include "client/progress.h"
#include "grpcpp/client_context.h"

namespace heatkv::client {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(5);

std::string ToTable(const v1::GetCapabilitiesResponse& response) {
  std::string text;
  for (const v1::ModelCapability& model : response.models()) {
    absl::StrAppend(&text, "model ", model.name(), ": ", model.description(),
                    "\n  guidance ", model.default_guidance(), ", tau ",
                    model.default_tau(), ", top_p ", model.default_top_p(),
                    "; prompts of at most ", model.max_prompt_tokens(),
                    " tokens\n");
    for (const v1::SizeCapability& size : model.sizes()) {
      absl::StrAppend(&text, "  ", size.aspect(), " ", size.pixel_class(), ": ",
                      size.width(), "x", size.height(), " in ",
                      size.scales_size(), " scales; full cache ",
                      ReadableBytes(size.full_cache_bytes_guided()),
                      " an image\n");
      for (const v1::TierCost& cost : size.tiers()) {
        absl::StrAppend(
            &text, absl::StrFormat(
                       "    %-10s %10s an image at its peak, the pool "
                       "holds %d\n",
                       cost.tier(), ReadableBytes(cost.peak_bytes_guided()),
                       cost.fits_guided()));
      }
    }
  }
  absl::StrAppend(
      &text, "pool ", ReadableBytes(response.limits().pool_bytes()),
      "; at most ", response.limits().max_images(), " images a request, ",
      response.limits().max_queued_requests(), " requests waiting\nserver ",
      response.server_version(), "\n");
  return text;
}

int Run(const std::string& server, bool json) {
  const auto connection = Connection::Open(server, kPatience);
  if (!connection.ok()) {
    std::cerr << "heatkv capabilities: " << connection.status().message()
              << "\n";
    return kExitUnreachable;
  }
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  v1::GetCapabilitiesResponse response;
  const grpc::Status status =
      connection->stub().GetCapabilities(&context, {}, &response);
  if (!status.ok()) {
    std::cerr << "heatkv capabilities: " << DescribeFailure(status) << "\n";
    return ExitCode(status);
  }
  if (json) return PrintJson(response);
  std::cout << ToTable(response);
  return kExitOk;
}
}  // namespace

void AddCapabilitiesCommand(CLI::App& app, const std::string* server,
                            int* exit_code) {
  const auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand(
      "capabilities", "Show the models, sizes and tiers of a server");
  command->add_flag("--json", *json, "Print the whole answer as JSON");
  command->callback(
      [json, server, exit_code] { *exit_code = Run(*server, *json); });
}

}  // namespace heatkv::client
