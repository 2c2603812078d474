#include "server/rpc/image_generation_service.h"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "server/rpc/capabilities.h"
#include "server/rpc/event_conversion.h"
#include "server/rpc/generation_reactors.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/job_call.h"
#include "server/rpc/job_watch.h"

namespace heatkv::server {
namespace {

constexpr int kMaxKeyLength = 128;

absl::Duration TimeLeft(const grpc::CallbackServerContext& context) {
  return absl::FromChrono(context.deadline()) - absl::Now();
}

// Often enough that neither a heartbeat nor a stall is seen much too late.
absl::Duration WatchPeriod(const CallServices& services) {
  return std::clamp(std::min(services.heartbeat, services.stall_timeout) / 4,
                    absl::Milliseconds(5), absl::Seconds(1));
}

// Not to be guessed: whoever knows it may see and cancel the job.
std::string MakeJobId() {
  thread_local absl::BitGen random;
  return absl::StrFormat("job-%016x%016x", absl::Uniform<std::uint64_t>(random),
                         absl::Uniform<std::uint64_t>(random));
}

// The same bytes for equal messages, whatever the order of their maps.
std::string Fingerprint(const v1::GenerateImageRequest& request) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    request.SerializeToCodedStream(&coded);
  }
  return bytes;
}

grpc::Status NoSuchJob(const std::string& id) {
  return ToGrpcStatus(absl::NotFoundError(absl::StrCat(
      "there is no job \"", id, "\", or it is not kept any more")));
}

absl::Status ToAbsl(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      status.error_message());
}

// The reactor of a call that is answered at once.
grpc::ServerUnaryReactor* Finished(grpc::CallbackServerContext* context,
                                   const grpc::Status& status) {
  // Asked for once a call: gRPC makes it anew each time.
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

// A stream that ends before it begins.
class RefusedStream final
    : public grpc::ServerWriteReactor<v1::GenerateImageEvent> {
 public:
  explicit RefusedStream(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

ImageGenerationService::ImageGenerationService(const CallServices* services,
                                               JobBook* jobs,
                                               ResultStore* results)
    : services_(services),
      jobs_(jobs),
      results_(results),
      streams_(WatchPeriod(*services), [jobs] { jobs->ForgetExpired(); }) {}

grpc::ServerUnaryReactor* ImageGenerationService::GenerateImage(
    grpc::CallbackServerContext* context,
    const v1::GenerateImageRequest* request,
    v1::GenerateImageResponse* response) {
  const auto call = std::make_shared<UnaryCall>(services_, response);
  call->KeepAlive(call);
  call->Start(*request, context->peer(), TimeLeft(*context));
  return call.get();
}

grpc::ServerWriteReactor<v1::GenerateImageEvent>*
ImageGenerationService::GenerateImageStream(
    grpc::CallbackServerContext* context,
    const v1::GenerateImageRequest* request) {
  const auto call = std::make_shared<StreamCall>(services_, context);
  call->KeepAlive(call);
  streams_.Add(call);
  call->Start(*request, context->peer(), TimeLeft(*context));
  return call.get();
}

grpc::ServerUnaryReactor* ImageGenerationService::EstimateImage(
    grpc::CallbackServerContext* context,
    const v1::EstimateImageRequest* request,
    v1::EstimateImageResponse* response) {
  const auto judged = Resolve(request->request(), services_->rules, true);
  if (const auto* violations =
          std::get_if<std::vector<FieldViolation>>(&judged)) {
    return Answer(context, "EstimateImage", BadRequest(*violations));
  }
  const auto& asked = std::get<ResolvedRequest>(judged);
  const auto estimate = services_->engine->EstimateRequest(asked.generation);
  if (estimate.ok()) *response = ToProto(*estimate, asked);
  return Answer(context, "EstimateImage", ToGrpcStatus(estimate.status()));
}

grpc::ServerUnaryReactor* ImageGenerationService::SubmitImage(
    grpc::CallbackServerContext* context, const v1::SubmitImageRequest* request,
    v1::ImageJob* response) {
  constexpr char kRpc[] = "SubmitImage";
  if (!IsName(request->idempotency_key(), kMaxKeyLength)) {
    std::vector<FieldViolation> violations = {
        {"idempotency_key",
         absl::StrCat("must be at most ", kMaxKeyLength,
                      " printable ASCII characters without spaces")}};
    auto judged = Resolve(request->request(), services_->rules, true);
    if (auto* more = std::get_if<std::vector<FieldViolation>>(&judged)) {
      std::move(more->begin(), more->end(), std::back_inserter(violations));
    }
    return Answer(context, kRpc, BadRequest(violations));
  }
  const auto record = std::make_shared<JobRecord>(
      MakeJobId(), services_->clock->Now(), jobs_->ttl());
  const auto call = std::make_shared<JobCall>(services_, results_, record);
  if (!call->Judge(request->request(), context->peer())) {
    return Finished(context, *record->After(0).end);
  }
  const ResolvedRequest& asked = call->asked();
  record->SetRequest(asked.request_id, asked.tier,
                     static_cast<int>(asked.generation.seeds.size()));
  record->SetCancel([weak = std::weak_ptr<JobCall>(call)] {
    if (const auto job = weak.lock()) job->CancelRequest();
  });
  const auto entered =
      jobs_->Enter({.record = record,
                    .tenant = asked.generation.tenant,
                    .idempotency_key = request->idempotency_key(),
                    .fingerprint = Fingerprint(request->request()),
                    .most_bytes = call->MostBytes()},
                   [&] { return call->Submit(absl::InfiniteDuration()); });
  if (!entered.ok()) {
    return Answer(context, kRpc, ToGrpcStatus(entered.status()));
  }
  if (*entered == nullptr) {  // the engine refused it, and the call reported
    return Finished(context, *record->After(0).end);
  }
  *response = std::move((*entered)->Describe().job);
  if (*entered != record) return Answer(context, kRpc, grpc::Status::OK);
  return Finished(context, grpc::Status::OK);
}

grpc::ServerWriteReactor<v1::GenerateImageEvent>*
ImageGenerationService::WatchImageJob(grpc::CallbackServerContext* context,
                                      const v1::WatchImageJobRequest* request) {
  std::shared_ptr<JobRecord> record = jobs_->Find(request->job_id());
  if (record == nullptr) {
    const grpc::Status status = NoSuchJob(request->job_id());
    Report(*context, "WatchImageJob", status);
    return new RefusedStream(status);
  }
  const auto watch = std::make_shared<JobWatch>(
      services_, context, std::move(record), request->after_sequence());
  streams_.Add(watch);
  watch->Start();
  return watch.get();
}

grpc::ServerUnaryReactor* ImageGenerationService::GetImageJob(
    grpc::CallbackServerContext* context, const v1::GetImageJobRequest* request,
    v1::ImageJob* response) {
  static constexpr char kRpc[] = "GetImageJob";
  const std::shared_ptr<JobRecord> record = jobs_->Find(request->job_id());
  if (record == nullptr) {
    return Answer(context, kRpc, NoSuchJob(request->job_id()));
  }
  JobRecord::View view = record->Describe();
  if (request->without_data() || view.pictures.empty()) {
    *response = std::move(view.job);
    return Answer(context, kRpc, grpc::Status::OK);
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  // Reading may wait for a disk.
  services_->encoders->Schedule(
      [this, context, reactor, response, view = std::move(view)]() mutable {
        const grpc::Status status = ToGrpcStatus(ReadPictures(&view));
        *response = std::move(view.job);
        Report(*context, kRpc, status);
        reactor->Finish(status);
      });
  return reactor;
}

grpc::ServerUnaryReactor* ImageGenerationService::CancelImageJob(
    grpc::CallbackServerContext* context,
    const v1::CancelImageJobRequest* request, v1::ImageJob* response) {
  const std::shared_ptr<JobRecord> record = jobs_->Find(request->job_id());
  if (record == nullptr) {
    return Answer(context, "CancelImageJob", NoSuchJob(request->job_id()));
  }
  record->Cancel();
  *response = std::move(record->Describe().job);
  return Answer(context, "CancelImageJob", grpc::Status::OK);
}

grpc::ServerUnaryReactor* ImageGenerationService::GetCapabilities(
    grpc::CallbackServerContext* context, const v1::GetCapabilitiesRequest*,
    v1::GetCapabilitiesResponse* response) {
  *response = DescribeCapabilities(*services_);
  return Answer(context, "GetCapabilities", grpc::Status::OK);
}

void ImageGenerationService::Report(const grpc::CallbackServerContext& context,
                                    const std::string& rpc,
                                    const grpc::Status& status) {
  CallRecord record;
  record.rpc = rpc;
  record.peer = context.peer();
  record.status = ToAbsl(status);
  services_->observer->OnCall(record);
}

grpc::ServerUnaryReactor* ImageGenerationService::Answer(
    grpc::CallbackServerContext* context, const std::string& rpc,
    const grpc::Status& status) {
  Report(*context, rpc, status);
  return Finished(context, status);
}

}  // namespace heatkv::server
