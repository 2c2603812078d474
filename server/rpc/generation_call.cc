#include "server/rpc/generation_call.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "server/rpc/event_conversion.h"
#include "server/rpc/grpc_status.h"

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
                               bool streams)
    : services_(services),
      rpc_(std::move(rpc)),
      streams_(streams),
      arrived_(services->clock->Now()),
      last_event_(arrived_) {}

void GenerationCall::Start(const v1::GenerateImageRequest& request,
                           std::string peer, absl::Duration time_left) {
  const auto self = shared_from_this();
  peer_ = std::move(peer);
  auto judged = Resolve(request, services_->rules, streams_);
  if (const auto* violations =
          std::get_if<std::vector<FieldViolation>>(&judged)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    asked_.request_id = request.request_id();
    const grpc::Status wire = BadRequest(*violations);
    EndWith(absl::InvalidArgumentError(wire.error_message()), wire);
    return;
  }
  asked_ = std::get<ResolvedRequest>(std::move(judged));
  images_asked_ = static_cast<int>(asked_.generation.seeds.size());
  asked_.generation.deadline =
      arrived_ + std::min(time_left, services_->max_request_time);
  const auto number = services_->engine->Submit(asked_.generation, self);
  bool cancelled = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!number.ok()) {
      EndWith(number.status(), ToGrpcStatus(number.status()));
      return;
    }
    number_ = *number;
    cancelled = cancelled_;
  }
  if (cancelled) services_->engine->Cancel(*number);
}

void GenerationCall::CancelByClient() {
  const auto self = shared_from_this();
  std::uint64_t number = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
    outbox_.Clear();
    number = number_;
    Pump();
  }
  if (number != 0) services_->engine->Cancel(number);
}

void GenerationCall::Heartbeat(absl::Duration silence) {
  const auto self = shared_from_this();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_writing_ || end_.has_value() ||
      services_->clock->Now() - last_event_ < silence) {
    return;
  }
  v1::GenerateImageEvent event = NewEvent();
  event.mutable_heartbeat();
  Push(std::move(event));
}

v1::GenerateImageEvent GenerationCall::NewEvent() const {
  v1::GenerateImageEvent event;
  *event.mutable_offset() = ToProto(services_->clock->Now() - arrived_);
  return event;
}

void GenerationCall::OnEvent(EngineEvent event) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (cancelled_ || end_.has_value()) return;
  const ScheduleBook& book = services_->engine->schedules();
  v1::GenerateImageEvent proto = NewEvent();
  std::visit(
      Overloaded{
          [&](AcceptedEvent& e) {
            *proto.mutable_accepted() = ToProto(e, asked_, book);
          },
          [&](QueuedEvent& e) { *proto.mutable_queued() = ToProto(e); },
          [&](StartedEvent& e) { *proto.mutable_started() = ToProto(e); },
          [&](ScaleDoneEvent& e) {
            const int ladder = asked_.generation.ladder;
            *proto.mutable_scale_done() = ToProto(
                e, book.plan(ladder, 0).schedule->ladder().num_scales());
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
  if (streams_ || proto.has_accepted()) Push(std::move(proto));
}

void GenerationCall::OnFinished(const absl::Status& status,
                                const RequestUsage& usage) {
  const std::lock_guard<std::mutex> lock(mutex_);
  usage_ = usage;
  if (end_.has_value()) return;  // an encoding failed before
  EndWith(status, ToGrpcStatus(status));
}

void GenerationCall::EndWith(const absl::Status& status,
                             const grpc::Status& wire) {
  end_ = status;
  wire_end_ = wire;
  // Nobody waits for the rest of a call that was given up; after any other
  // failure, what is done is still handed over.
  if (status.code() == absl::StatusCode::kCancelled ||
      status.code() == absl::StatusCode::kDeadlineExceeded) {
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
      last_event_ = services_->clock->Now();
      is_writing_ = !Write(*std::move(event));
      continue;
    }
    if (!end_.has_value() || !outbox_.empty()) return;
    if (end_->ok() && !completed_ && !cancelled_) {
      completed_ = true;
      v1::GenerateImageEvent event = NewEvent();
      *event.mutable_completed()->mutable_usage() = MakeUsage();
      outbox_.Push(std::move(event));
      continue;
    }
    closed_ = true;
    services_->observer->OnCall(
        {rpc_, asked_.request_id, peer_,
         services_->rules.book->FindTier(asked_.tier) ? asked_.tier : "", *end_,
         services_->clock->Now() - arrived_, images_asked_, usage_,
         asked_.tags});
    Close(wire_end_);
  }
}

void GenerationCall::OnWritten(bool ok) {
  const auto self = shared_from_this();
  std::uint64_t number = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_writing_ = false;
    if (!ok) {
      cancelled_ = true;
      outbox_.Clear();
      number = number_;
    }
    Pump();
  }
  if (number != 0) services_->engine->Cancel(number);
}

void GenerationCall::EncodeLater(int image, int scale, model::RgbImage picture,
                                 bool is_preview) {
  const std::uint64_t place =
      outbox_.Reserve(is_preview ? std::optional<int>(image) : std::nullopt);
  services_->encoders->Schedule([self = shared_from_this(), place, image, scale,
                                 picture = std::move(picture), is_preview] {
    self->Encode(place, image, scale, picture, is_preview);
  });
}

void GenerationCall::Encode(std::uint64_t place, int image, int scale,
                            const model::RgbImage& picture, bool is_preview) {
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
    *proto.mutable_recipe() = MakeRecipe(image);
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
  services_->engine->Cancel(number);
}

v1::Usage GenerationCall::MakeUsage() const {
  v1::Usage usage = ToProto(usage_);
  *usage.mutable_encode() = ToProto(encode_took_);
  *usage.mutable_total() = ToProto(services_->clock->Now() - arrived_);
  return usage;
}

v1::Recipe GenerationCall::MakeRecipe(int image) const {
  const GenerationRequest& generation = asked_.generation;
  const model::ModelSpec& spec = *services_->rules.spec;
  const ScheduleBook& book = *services_->rules.book;
  v1::Recipe recipe;
  recipe.set_model(spec.name);
  recipe.set_model_sha256(services_->model_sha256);
  recipe.set_schedule_sha256(
      book.plan(generation.ladder, generation.tier).schedule_sha256);
  recipe.set_tier(asked_.tier);
  recipe.set_budget(book.tiers()[generation.tier].budget.fraction());
  recipe.set_prompt(generation.prompt);
  recipe.set_seed(generation.seeds[image]);
  recipe.set_aspect(spec.ladders[generation.ladder].aspect);
  recipe.set_pixel_class(spec.ladders[generation.ladder].pixel_class);
  recipe.set_width(asked_.width);
  recipe.set_height(asked_.height);
  recipe.set_guidance(generation.guidance);
  recipe.set_tau(generation.tau);
  recipe.set_top_p(generation.top_p);
  recipe.set_format(ToProto(asked_.encoding.format));
  if (asked_.encoding.format != ImageFormat::kPng) {
    recipe.set_quality(asked_.encoding.quality);
  }
  recipe.set_server_version(services_->server_version);
  return recipe;
}

}  // namespace heatkv::server
