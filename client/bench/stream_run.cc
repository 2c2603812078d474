#include "client/bench/stream_run.h"

#include <algorithm>
#include <list>
#include <mutex>
#include <utility>

#include "absl/time/clock.h"
#include "calibration/sha256.h"
#include "client/durations.h"
#include "client/request_fields.h"
#include "grpcpp/alarm.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"

namespace heatkv::client {
namespace {

double SecondsSince(Instant begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
      .count();
}

// Deletes itself in the last reaction, before it tells anybody: whoever is told
// may let the connection go, and no thread of gRPC's may be the last to hold
// one (it would wait for itself).  Reactions of one call never overlap,
// but run on many threads; the mutex makes that visible to the race detector.
class StreamRun : public grpc::ClientReadReactor<v1::GenerateImageEvent> {
 public:
  StreamRun(const Connection& connection, StreamStart start,
            std::function<void(RequestRecord)> done)
      : connection_(connection),
        start_(std::move(start)),
        done_(std::move(done)) {
    const v1::GenerateImageRequest& request = start_.request.request;
    record_.index = start_.index;
    record_.id = start_.request.id;
    record_.prompt = request.prompt();
    record_.tenant = request.tenant();
    record_.priority = PriorityName(request.priority());
    record_.asked_tier = request.tier();
    record_.plan = start_.plan;
    record_.images_asked =
        std::max<int>({1, static_cast<int>(request.n()), request.seeds_size()});
    record_.due =
        std::chrono::duration<double>(start_.due - start_.begin).count();
    position_.images = record_.images_asked;
    if (start_.timeout < absl::InfiniteDuration()) {
      context_.set_deadline(absl::ToChronoTime(absl::Now() + start_.timeout));
    }
  }

  void Run() {
    // Between an event and the end of a pause nothing of the call is in flight;
    // the hold keeps it from being over meanwhile.
    is_held_ = start_.plan.fault == Fault::kSlow;
    connection_.stub().async()->GenerateImageStream(
        &context_, &start_.request.request, this);
    if (is_held_) AddHold();
    StartRead(&event_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    absl::Duration pause;
    bool leaves = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (ok) {
        Take();
        leaves = !record_.has_left && IsTimeToLeave(start_.plan, position_);
        if (leaves) record_.has_left = true;
        pause = PauseBeforeReading(start_.plan, position_, start_.pauses);
      }
    }
    if (!ok) {
      if (is_held_) RemoveHold();
      return;
    }
    if (leaves && start_.plan.fault == Fault::kCancel) context_.TryCancel();
    if (leaves && start_.plan.fault == Fault::kVanish) start_.droppable->Drop();
    if (pause == absl::ZeroDuration()) {
      StartRead(&event_);
      return;
    }
    // A new one each time: the last one may still be returning.
    alarms_.emplace_back().Set(absl::ToChronoTime(absl::Now() + pause),
                               [this](bool) { StartRead(&event_); });
  }

  void OnDone(const grpc::Status& status) override {
    RequestRecord record;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      record = std::move(record_);
    }
    record.latency = SecondsSince(start_.due);
    record.status = CodeName(status.error_code());
    record.message = status.error_message();
    const std::function<void(RequestRecord)> done = std::move(done_);
    delete this;
    done(std::move(record));
  }

 private:
  void Take() {
    ++position_.events;
    const double now = SecondsSince(start_.due);
    if (event_.has_accepted()) {
      const v1::Accepted& accepted = event_.accepted();
      position_.accepted = true;
      position_.scales = std::max<int>(accepted.scales(), 1);
      record_.was_accepted = true;
      record_.request_id = accepted.request_id();
      record_.asked_tier = accepted.tier();
      record_.planned_peak_bytes = accepted.peak_bytes();
      record_.full_cache_bytes = accepted.full_cache_bytes();
    } else if (event_.has_started()) {
      const v1::Started& started = event_.started();
      record_.granted_tier = started.tier();
      record_.planned_peak_bytes = started.peak_bytes();
      record_.queued = Seconds(started.queued_for());
    } else if (event_.has_scale_done()) {
      const v1::ScaleDone& done = event_.scale_done();
      ++position_.scales_done;
      record_.peak_held_bytes =
          std::max<std::uint64_t>(record_.peak_held_bytes, done.held_bytes());
      if (done.held_bytes() != done.planned_bytes()) ++record_.plan_errors;
    } else if (event_.has_preview()) {
      ++record_.previews;
      if (!record_.first_preview) record_.first_preview = now;
      if (!record_.first_picture) record_.first_picture = now;
    } else if (event_.has_image()) {
      ++position_.images_done;
      if (!record_.first_picture) record_.first_picture = now;
      TakeImage(event_.image());
    }
  }

  void TakeImage(const v1::Image& image) {
    ImageRecord taken;
    taken.index = static_cast<int>(image.index());
    taken.seed = image.recipe().seed();
    taken.tier = image.recipe().tier();
    taken.aspect = image.recipe().aspect();
    taken.pixel_class = image.recipe().pixel_class();
    taken.sha256 = calibration::Sha256Hex(image.data());
    taken.is_intact = taken.sha256 == image.sha256();
    record_.images.push_back(std::move(taken));
  }

  const Connection connection_;
  StreamStart start_;
  std::function<void(RequestRecord)> done_;
  grpc::ClientContext context_;
  v1::GenerateImageEvent event_;
  bool is_held_ = false;

  std::mutex mutex_;
  RequestRecord record_;
  StreamPosition position_;
  std::list<grpc::Alarm> alarms_;
};

}  // namespace

void StartStream(const Connection& connection, StreamStart start,
                 std::function<void(RequestRecord)> done) {
  const Connection used = start.droppable != nullptr
                              ? Connection::Over(start.droppable->channel())
                              : connection;
  (new StreamRun(used, std::move(start), std::move(done)))->Run();
}

}  // namespace heatkv::client
