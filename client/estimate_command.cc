#include "client/estimate_command.h"

#include <algorithm>
#include <iostream>
#include <memory>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/readable_bytes.h"
#include "client/connection.h"
#include "client/durations.h"
#include "client/message_json.h"
#include "client/progress.h"
#include "client/request_flags.h"
#include "grpcpp/client_context.h"

namespace heatkv::client {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(5);

struct EstimateFlags {
  RequestFlags request;
  bool json = false;
};

std::string Time(bool is_known, const google::protobuf::Duration& duration) {
  return is_known ? absl::StrFormat("%.3f s", Seconds(duration)) : "not known";
}

int Run(const EstimateFlags& flags, const std::string& server) {
  const auto connection = Connection::Open(server, kPatience);
  if (!connection.ok()) {
    std::cerr << "heatkv estimate: " << connection.status().message() << "\n";
    return kExitUnreachable;
  }
  v1::EstimateImageRequest request;
  *request.mutable_request() =
      MakeRequest(flags.request, v1::IMAGE_FORMAT_UNSPECIFIED);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  v1::EstimateImageResponse estimate;
  const grpc::Status status =
      connection->stub().EstimateImage(&context, request, &estimate);
  if (!status.ok()) {
    std::cerr << "heatkv estimate: " << DescribeFailure(status) << "\n";
    return ExitCode(status);
  }
  if (flags.json) return PrintJson(estimate);
  std::cout << EstimateText(estimate);
  return kExitOk;
}

}  // namespace

std::string EstimateText(const v1::EstimateImageResponse& estimate) {
  std::string text = absl::StrFormat("%5s %9s %12s %12s %12s\n", "scale",
                                     "grid", "at most", "after it", "time");
  for (const v1::ScaleEstimate& scale : estimate.scales()) {
    absl::StrAppendFormat(
        &text, "%5d %9s %12s %12s %12s\n", scale.scale(),
        absl::StrCat(scale.grid_height(), "x", scale.grid_width()),
        ReadableBytes(scale.peak_bytes()), ReadableBytes(scale.held_bytes()),
        Time(scale.has_expected_time(), scale.expected_time()));
  }
  const double share =
      100.0 * static_cast<double>(estimate.peak_bytes()) /
      std::max(1.0, static_cast<double>(estimate.full_cache_bytes()));
  absl::StrAppendFormat(
      &text,
      "tier %s: %s an image at its peak, %.1f %% of the full cache of %s\n",
      estimate.tier(), ReadableBytes(estimate.peak_bytes()), share,
      ReadableBytes(estimate.full_cache_bytes()));
  if (estimate.admissible_now()) {
    absl::StrAppend(&text, "would start now");
  } else {
    absl::StrAppend(&text, "would wait: ", estimate.reason());
  }
  absl::StrAppendFormat(
      &text, "; %d ahead, expected wait %s, then %s; %.0f byte-seconds\n",
      estimate.requests_ahead(),
      Time(estimate.has_expected_wait(), estimate.expected_wait()),
      Time(estimate.has_expected_run(), estimate.expected_run()),
      estimate.byte_seconds());
  return text;
}

void AddEstimateCommand(CLI::App& app, const std::string* server,
                        int* exit_code) {
  const auto flags = std::make_shared<EstimateFlags>();
  CLI::App* command = app.add_subcommand(
      "estimate", "Show what a request would cost, without making it");
  AddRequestFlags(*command, &flags->request);
  command->add_flag("--json", flags->json, "Print the whole answer as JSON");
  command->callback(
      [flags, server, exit_code] { *exit_code = Run(*flags, *server); });
}

}  // namespace heatkv::client
