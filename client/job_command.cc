#include "client/job_command.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iostream>
#include <map>
#include <memory>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/readable_bytes.h"
#include "client/connection.h"
#include "client/durations.h"
#include "client/generation.h"
#include "client/message_json.h"
#include "client/picture_files.h"
#include "client/progress.h"
#include "client/request_flags.h"
#include "grpcpp/client_context.h"

namespace heatkv::client {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(5);

struct JobFlags {
  RequestFlags request;
  std::string format = "png";
  std::string key;     // idempotency
  std::string job_id;  // of watch, get, cancel
  std::string out;
  std::uint64_t after = 0;
  bool json = false;
  bool quiet = false;
};

int Complain(absl::string_view message, int code) {
  std::cerr << "heatkv job: " << message << "\n";
  return code;
}

int Print(const v1::ImageJob& job, bool json) {
  if (json) return PrintJson(job);
  std::cout << JobText(job);
  return kExitOk;
}

// Runs a call that answers with a job.
template <typename Request>
int Call(const Connection& connection,
         grpc::Status (v1::ImageGeneration::Stub::*method)(grpc::ClientContext*,
                                                           const Request&,
                                                           v1::ImageJob*),
         const Request& request, v1::ImageJob* job) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  const grpc::Status status =
      (connection.stub().*method)(&context, request, job);
  return status.ok() ? kExitOk
                     : Complain(DescribeFailure(status), ExitCode(status));
}

int Submit(const JobFlags& flags, const Connection& connection) {
  const std::map<std::string, v1::ImageFormat> formats = {
      {"png", v1::IMAGE_FORMAT_PNG},
      {"jpeg", v1::IMAGE_FORMAT_JPEG},
      {"webp", v1::IMAGE_FORMAT_WEBP}};
  v1::SubmitImageRequest request;
  *request.mutable_request() =
      MakeRequest(flags.request, formats.at(flags.format));
  request.set_idempotency_key(flags.key);
  v1::ImageJob job;
  const int code =
      Call(connection, &v1::ImageGeneration::Stub::SubmitImage, request, &job);
  if (code != kExitOk) return code;
  if (flags.json) return PrintJson(job);
  std::cout << job.job_id() << "\n";
  return kExitOk;
}

int Get(const JobFlags& flags, const Connection& connection, v1::ImageJob* job,
        bool with_data) {
  v1::GetImageJobRequest request;
  request.set_job_id(flags.job_id);
  request.set_without_data(!with_data);
  return Call(connection, &v1::ImageGeneration::Stub::GetImageJob, request,
              job);
}

int GetAndWrite(const JobFlags& flags, const Connection& connection) {
  v1::ImageJob job;
  const int code = Get(flags, connection, &job, !flags.out.empty());
  if (code != kExitOk) return code;
  if (!flags.out.empty()) {
    const int images = std::max<int>(job.images_asked(), 1);
    for (v1::Image& image : *job.mutable_images()) {
      const auto file = PictureFile(flags.out, image.index(), images);
      const absl::Status written = WriteFile(file, image.data());
      if (!written.ok()) return Complain(written.message(), kExitFailed);
      image.clear_data();
      if (!flags.json) std::cerr << file.string() << "\n";
    }
  }
  return Print(job, flags.json);
}

int Watch(const JobFlags& flags, const Connection& connection) {
  v1::ImageJob job;  // says how many images there will be
  const int code = Get(flags, connection, &job, false);
  if (code != kExitOk) return code;
  Progress progress(stderr, StyleOf(stderr, flags.quiet));
  const Generated made = WatchJob(
      connection, flags.job_id, flags.after, flags.out,
      std::max<int>(job.images_asked(), 1), absl::InfiniteDuration(),
      [&](const v1::GenerateImageEvent& event) { progress.Show(event); });
  progress.EndLine();
  if (!made.file_status.ok()) {
    return Complain(made.file_status.message(), kExitFailed);
  }
  if (flags.json) std::cout << ToJson(made).dump(2) << "\n";
  for (const Generated::Picture& picture : made.pictures) {
    if (!flags.json && !picture.file.empty()) {
      std::cout << picture.file.string() << "\n";
    }
  }
  if (made.status.ok()) return kExitOk;
  return Complain(DescribeFailure(made.status), ExitCode(made.status));
}

int Cancel(const JobFlags& flags, const Connection& connection) {
  v1::CancelImageJobRequest request;
  request.set_job_id(flags.job_id);
  v1::ImageJob job;
  const int code = Call(connection, &v1::ImageGeneration::Stub::CancelImageJob,
                        request, &job);
  if (code != kExitOk) return code;
  for (v1::Image& image : *job.mutable_images()) image.clear_data();
  return Print(job, flags.json);
}

std::string StateName(v1::JobState state) {
  constexpr absl::string_view kPrefix = "JOB_STATE_";
  return absl::AsciiStrToLower(v1::JobState_Name(state).substr(kPrefix.size()));
}

std::string Time(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S",
                          absl::FromUnixSeconds(time.seconds()),
                          absl::LocalTimeZone());
}

}  // namespace

std::string JobText(const v1::ImageJob& job) {
  std::string text = absl::StrCat(
      "job ", job.job_id(), ": ", StateName(job.state()), ", ",
      job.images_size(), " of ", job.images_asked(), " images, tier ",
      job.tier(), "\nsubmitted ", Time(job.create_time()));
  if (job.has_expire_time()) {
    absl::StrAppend(&text, ", kept until ", Time(job.expire_time()));
  }
  absl::StrAppend(&text, "\n");
  if (job.has_usage()) {
    absl::StrAppendFormat(&text, "%.2f s, %s of cache at peak\n",
                          Seconds(job.usage().total()),
                          ReadableBytes(job.usage().peak_cache_bytes()));
  }
  if (job.has_error()) {
    absl::StrAppend(&text, CodeName(job.error().code()), ": ",
                    job.error().message(), "\n");
  }
  return text;
}

void AddJobCommand(CLI::App& app, const std::string* server, int* exit_code) {
  using Verb = int (*)(const JobFlags&, const Connection&);
  CLI::App* group =
      app.add_subcommand("job", "Pictures that outlive the connection");
  group->require_subcommand(1);
  const auto add = [&](const char* name, const char* what, Verb verb) {
    const auto flags = std::make_shared<JobFlags>();
    CLI::App* command = group->add_subcommand(name, what);
    command->add_flag("--json", flags->json, "Print the answer as JSON");
    command->callback([flags, server, exit_code, verb] {
      const auto connection = Connection::Open(*server, kPatience);
      *exit_code = connection.ok() ? verb(*flags, *connection)
                                   : Complain(connection.status().message(),
                                              kExitUnreachable);
    });
    return std::pair(command, flags);
  };
  const auto add_known = [&](const char* name, const char* what, Verb verb) {
    const auto added = add(name, what, verb);
    added.first->add_option("job", added.second->job_id, "Its id")->required();
    return added;
  };

  const auto [submit, submit_flags] =
      add("submit", "Start a job and print its id", Submit);
  AddRequestFlags(*submit, &submit_flags->request);
  submit->add_option("--format", submit_flags->format, "Of the pictures")
      ->check(CLI::IsMember({"png", "jpeg", "webp"}))
      ->capture_default_str();
  submit->add_option("--key", submit_flags->key,
                     "Idempotency key: the same key is the same job");
  const auto [watch, watch_flags] =
      add_known("watch", "Follow a job to its end", Watch);
  watch->add_option("--out", watch_flags->out, "Write the pictures here");
  watch->add_option("--after", watch_flags->after,
                    "Only events after this sequence number");
  watch->add_flag("--quiet", watch_flags->quiet, "No progress");
  const auto get = add_known("get", "Show a job", GetAndWrite);
  get.first->add_option("--out", get.second->out, "Write its pictures here");
  add_known("cancel", "End a job; what is done stays", Cancel);
}

}  // namespace heatkv::client
