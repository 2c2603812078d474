#include "server/rpc/job_watch.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/event_conversion.h"
#include "server/rpc/grpc_status.h"

namespace heatkv::server {

JobWatch::JobWatch(const CallServices* services,
                   grpc::CallbackServerContext* context,
                   std::shared_ptr<JobRecord> record,
                   std::uint64_t after_sequence)
    : services_(services),
      context_(context),
      record_(std::move(record)),
      arrived_(services->clock->Now()),
      peer_(context->peer()),
      patience_(services->heartbeat, services->stall_timeout, arrived_),
      after_(after_sequence) {}

void JobWatch::Start() {
  self_ = shared_from_this();
  record_->AddReader(self_);
  OnJobChanged();
}

void JobWatch::OnJobChanged() {
  const std::lock_guard<std::mutex> lock(mutex_);
  Pump();
}

void JobWatch::LookAfter() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return;
  switch (patience_.Judge(services_->clock->Now())) {
    case ReaderState::kFine:
      return;
    case ReaderState::kSilence: {
      if (is_writing_) return;  // a picture is on its way from the store
      v1::GenerateImageEvent event;
      event.set_sequence(after_);
      *event.mutable_offset() =
          ToProto(services_->clock->Now() - record_->created());
      event.mutable_heartbeat();
      is_writing_ = true;
      Send(std::move(event));
      return;
    }
    case ReaderState::kLost:
      context_->TryCancel();
      [[fallthrough]];
    case ReaderState::kStalls:
      if (stalled_) return;
      stalled_ = true;
      EndWith(absl::AbortedError(
          absl::StrCat("the client has not read its stream for ",
                       absl::FormatDuration(patience_.stall_timeout()))));
  }
}

void JobWatch::OnWriteDone(bool ok) {
  const std::lock_guard<std::mutex> lock(mutex_);
  is_writing_ = false;
  patience_.WriteEnds(services_->clock->Now());
  if (ok) {
    Pump();
  } else {
    EndWith(absl::CancelledError("the client left"));
  }
}

void JobWatch::OnCancel() {
  const std::lock_guard<std::mutex> lock(mutex_);
  EndWith(absl::CancelledError("the client left"));
}

void JobWatch::OnDone() { const auto self = std::move(self_); }

void JobWatch::EndWith(const absl::Status& status) {
  if (!end_.has_value()) end_ = ToGrpcStatus(status);
  Pump();
}

void JobWatch::Pump() {
  if (is_writing_ || closed_) return;
  if (!end_.has_value()) {
    JobRecord::Found found = record_->After(after_);
    if (found.next.has_value()) {
      after_ = found.next->event.sequence();
      is_writing_ = true;
      if (found.next->picture == nullptr) {
        Send(std::move(found.next->event));
        return;
      }
      services_->encoders->Schedule(
          [self = shared_from_this(), entry = *std::move(found.next)] {
            self->ReadAndSend(entry);
          });
      return;
    }
    if (!found.end.has_value()) return;
    end_ = std::move(found.end);
  }
  closed_ = true;
  CallRecord call;
  call.rpc = "WatchImageJob";
  call.peer = peer_;
  call.status = absl::Status(static_cast<absl::StatusCode>(end_->error_code()),
                             end_->error_message());
  call.took = services_->clock->Now() - arrived_;
  services_->observer->OnCall(call);
  Finish(*end_);
}

void JobWatch::Send(v1::GenerateImageEvent event) {
  written_ = std::move(event);
  // The reader's time begins here, not while a picture is fetched for it.
  patience_.WriteBegins(services_->clock->Now());
  StartWrite(&written_);
}

void JobWatch::ReadAndSend(JobRecord::Entry entry) {
  absl::StatusOr<std::string> bytes = entry.picture->Read();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!bytes.ok()) {
    is_writing_ = false;
    EndWith(bytes.status());
    return;
  }
  entry.event.mutable_image()->set_data(*std::move(bytes));
  Send(std::move(entry.event));
}

}  // namespace heatkv::server
