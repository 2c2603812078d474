#include "server/rpc/generation_call.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "server/rpc/event_conversion.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/recipe.h"

namespace heatkv::server {
namespace {

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

}  // namespace

GenerationCall::GenerationCall(const CallServices* services, std::string rpc,
                               Reader reader)
    : services_(services),
      rpc_(std::move(rpc)),
      reader_(reader),
      arrived_(services->clock->Now()),
      patience_(services->heartbeat, services->stall_timeout, arrived_) {
  services_->calls->Enter();
}

GenerationCall::~GenerationCall() { services_->calls->Leave(); }

bool GenerationCall::Start(const v1::GenerateImageRequest& request,
                           std::string peer, absl::Duration time_left) {
  return Judge(request, std::move(peer)) && Submit(time_left);
}

bool GenerationCall::Judge(const v1::GenerateImageRequest& request,
                           std::string peer) {
  const auto self = shared_from_this();
  peer_ = std::move(peer);
  auto judged = Resolve(request, services_->rules, reader_ != Reader::kOnce);
  if (const auto* violations =
          std::get_if<std::vector<FieldViolation>>(&judged)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    // What is wrong with it may be its length.
    asked_.request_id = request.request_id().substr(0, 128);
    const grpc::Status wire = BadRequest(*violations);
    EndWith(absl::InvalidArgumentError(wire.error_message()), wire);
    return false;
  }
  asked_ = std::get<ResolvedRequest>(std::move(judged));
  images_asked_ = static_cast<int>(asked_.generation.seeds.size());
  tier_ = asked_.generation.tier;
  return true;
}

bool GenerationCall::Submit(absl::Duration time_left) {
  const auto self = shared_from_this();
  asked_.generation.deadline =
      arrived_ + std::min(time_left, services_->max_request_time);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    engine_done_ = false;
  }
  const auto number = services_->engine->Submit(asked_.generation, self);
  bool cancelled = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!number.ok()) {
      engine_done_ = true;
      EndWith(number.status(), ToGrpcStatus(number.status()));
      return false;
    }
    number_ = *number;
    cancelled = end_.has_value() && !end_->ok();
  }
  if (cancelled) services_->engine->Cancel(*number);
  return true;
}

void GenerationCall::CancelByClient() {
  const auto self = shared_from_this();
  std::uint64_t number = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    client_left_ = true;
    number = number_;
    if (!end_.has_value()) {
      const absl::Status status =
          absl::CancelledError("cancelled by the client");
      EndWith(status, ToGrpcStatus(status));
    } else {
      outbox_.Clear();
      Pump();
    }
  }
  if (number != 0) services_->engine->Cancel(number);
}

void GenerationCall::CancelRequest() {
  std::uint64_t number = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    number = number_;
  }
  if (number != 0) services_->engine->Cancel(number);
}

void GenerationCall::LookAfter() {
  const auto self = shared_from_this();
  std::uint64_t stalled = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    switch (patience_.Judge(services_->clock->Now())) {
      case ReaderState::kFine:
        return;
      case ReaderState::kSilence: {
        if (end_.has_value()) return;
        v1::GenerateImageEvent event = NewEvent();
        event.mutable_heartbeat();
        Push(std::move(event));
        return;
      }
      case ReaderState::kLost:
        Abandon();
        [[fallthrough]];
      case ReaderState::kStalls: {
        if (stalled_) return;
        stalled_ = true;
        const absl::Status status = absl::AbortedError(
            absl::StrCat("the client has not read its stream for ",
                         absl::FormatDuration(patience_.stall_timeout())));
        EndWith(status, ToGrpcStatus(status));
        stalled = number_;
      }
    }
  }
  if (stalled != 0) services_->engine->Cancel(stalled, CancelCause::kStall);
}

v1::GenerateImageEvent GenerationCall::NewEvent() const {
  v1::GenerateImageEvent event;
  *event.mutable_offset() = ToProto(services_->clock->Now() - arrived_);
  return event;
}

void GenerationCall::OnEvent(EngineEvent event) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (end_.has_value()) return;
  v1::GenerateImageEvent proto = NewEvent();
  std::visit(Overloaded{
                 [&](AcceptedEvent& e) {
                   *proto.mutable_accepted() = ToProto(e, asked_);
                 },
                 [&](QueuedEvent& e) { *proto.mutable_queued() = ToProto(e); },
                 [&](StartedEvent& e) {
                   tier_ = e.tier;
                   *proto.mutable_started() = ToProto(e, asked_);
                 },
                 [&](ScaleDoneEvent& e) {
                   const GenerationRequest& generation = asked_.generation;
                   const TierPlan& plan =
                       generation.book->plan(generation.ladder, 0);
                   *proto.mutable_scale_done() =
                       ToProto(e, plan.schedule->ladder().num_scales());
                 },
                 [&](PreviewEvent& e) {
                   EncodeLater(e.image, e.scale, std::move(e.picture), true);
                 },
                 [&](ImageEvent& e) {
                   EncodeLater(e.image, 0, std::move(e.picture), false);
                 },
             },
             event);
  if (proto.event_case() == v1::GenerateImageEvent::EVENT_NOT_SET) return;
  if (reader_ == Reader::kOnce && !proto.has_accepted() &&
      !proto.has_started()) {
    return;
  }
  Push(std::move(proto));
}

bool GenerationCall::WantsMore() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return outbox_.bytes() + writing_bytes_ <= services_->outbox_bytes &&
         services_->encoders->waiting_bytes() <= services_->backlog_bytes;
}

void GenerationCall::OnFinished(const absl::Status& status,
                                const RequestUsage& usage) {
  const std::lock_guard<std::mutex> lock(mutex_);
  engine_done_ = true;
  usage_ = usage;
  if (end_.has_value()) {  // the client left, or an encoding failed
    // The engine knows whether the client's deadline had passed.
    if (client_left_ && !status.ok()) end_ = status;
    Pump();
    Report();
    return;
  }
  EndWith(status, ToGrpcStatus(status));
}

void GenerationCall::EndWith(const absl::Status& status,
                             const grpc::Status& wire) {
  end_ = status;
  wire_end_ = wire;
  // Nobody waits for the rest of a call that was given up; after any other
  // failure, and in the record of a job, what is done is still handed over.
  const absl::StatusCode code = status.code();
  if (reader_ != Reader::kRecord &&
      (code == absl::StatusCode::kCancelled ||
       code == absl::StatusCode::kDeadlineExceeded ||
       code == absl::StatusCode::kAborted)) {
    outbox_.Clear();
  }
  Pump();
}

void GenerationCall::Push(v1::GenerateImageEvent event) {
  outbox_.Push(std::move(event));
  Pump();
}

void GenerationCall::Pump() {
  while (!is_writing_ && !closed_) {
    if (auto event = outbox_.Take()) {
      patience_.WriteBegins(services_->clock->Now());
      writing_bytes_ = PictureBytes(*event);
      is_writing_ = true;
      if (Write(*std::move(event))) {
        is_writing_ = false;
        writing_bytes_ = 0;
        patience_.WriteEnds(services_->clock->Now());
      }
      continue;
    }
    if (!end_.has_value() || !outbox_.empty()) return;
    if (reader_ == Reader::kRecord && !engine_done_) return;
    if (end_->ok() && !completed_ && !client_left_) {
      completed_ = true;
      v1::GenerateImageEvent event = NewEvent();
      *event.mutable_completed()->mutable_usage() = MakeUsage();
      outbox_.Push(std::move(event));
      continue;
    }
    closed_ = true;
    Report();
    Close(wire_end_);
  }
}

// Once, when both the client and the engine have seen the end of it.
void GenerationCall::Report() {
  if (reported_ || !closed_ || !engine_done_) return;
  reported_ = true;
  CallRecord record;
  record.rpc = rpc_;
  record.request_id = asked_.request_id;
  record.peer = peer_;
  record.tenant = asked_.generation.tenant;
  if (tier_ >= 0) record.tier = asked_.generation.book->tiers()[tier_].name;
  record.status = *end_;
  record.took = services_->clock->Now() - arrived_;
  record.images_asked = images_asked_;
  record.usage = usage_;
  record.tags = asked_.tags;
  services_->observer->OnCall(record);
}

void GenerationCall::OnWritten(bool ok) {
  const auto self = shared_from_this();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_writing_ = false;
    writing_bytes_ = 0;
    patience_.WriteEnds(services_->clock->Now());
    if (ok) {
      Pump();
      return;
    }
  }
  CancelByClient();
}

void GenerationCall::EncodeLater(int image, int scale, model::RgbImage picture,
                                 bool is_preview) {
  if (is_preview &&
      services_->encoders->waiting_bytes() > services_->backlog_bytes) {
    return;
  }
  const auto bytes = static_cast<std::int64_t>(picture.pixels.size());
  const std::uint64_t place = outbox_.Reserve(
      is_preview ? std::optional<int>(image) : std::nullopt, bytes);
  services_->encoders->Schedule(
      [self = shared_from_this(), place, image, scale, tier = tier_,
       picture = std::move(picture), is_preview] {
        self->Encode(place, image, scale, tier, picture, is_preview);
      },
      bytes);
}

void GenerationCall::Encode(std::uint64_t place, int image, int scale, int tier,
                            const model::RgbImage& picture, bool is_preview) {
  {
    // Nobody waits for it any more.
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_ || !outbox_.Awaits(place)) return;
  }
  const absl::Time begin = services_->clock->Now();
  const model::RgbImage scaled =
      is_preview ? ScaleDown(picture, asked_.preview_max_edge)
                 : model::RgbImage();
  const model::RgbImage& final_picture = is_preview ? scaled : picture;
  const EncodingOptions& options =
      is_preview ? asked_.preview_encoding : asked_.encoding;
  auto bytes = EncodeImage(final_picture, options);
  const absl::Duration took = services_->clock->Now() - begin;
  services_->observer->OnStage(Stage::kEncode, took);
  if (!bytes.ok()) {
    EncodingFailed(bytes.status());
    return;
  }
  v1::GenerateImageEvent event = NewEvent();
  if (is_preview) {
    v1::Preview& preview = *event.mutable_preview();
    preview.set_image_index(image);
    preview.set_scale(scale + 1);
    preview.set_data(*std::move(bytes));
    preview.set_format(ToProto(options.format));
    preview.set_width(final_picture.width);
    preview.set_height(final_picture.height);
  } else {
    v1::Image& proto = *event.mutable_image();
    proto.set_index(image);
    proto.set_sha256(services_->sha256(*bytes));
    proto.set_data(*std::move(bytes));
    proto.set_format(ToProto(options.format));
    proto.set_mime_type(MimeType(options.format));
    proto.set_width(final_picture.width);
    proto.set_height(final_picture.height);
    *proto.mutable_recipe() = MakeRecipe(*services_, asked_, tier, image);
    if (const absl::Status kept = Keep(&proto); !kept.ok()) {
      EncodingFailed(kept);
      return;
    }
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  encode_took_ += took;
  outbox_.Fill(place, std::move(event));
  Pump();
}

void GenerationCall::EncodingFailed(const absl::Status& status) {
  std::uint64_t number = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    outbox_.Clear();
    if (!end_.has_value() || end_->ok()) {
      EndWith(status, ToGrpcStatus(status));
    } else {
      Pump();
    }
    number = number_;
  }
  if (number != 0) services_->engine->Cancel(number);
}

v1::Usage GenerationCall::MakeUsage() const {
  v1::Usage usage = ToProto(usage_);
  *usage.mutable_encode() = ToProto(encode_took_);
  *usage.mutable_total() = ToProto(services_->clock->Now() - arrived_);
  return usage;
}

}  // namespace heatkv::server
