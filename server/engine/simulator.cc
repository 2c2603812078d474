#include "server/engine/simulator.h"

#include <algorithm>
#include <cstdlib>
#include <queue>
#include <unordered_map>
#include <utility>

#include "base/check.h"

namespace heatkv::server {
namespace {

class Simulation {
 public:
  explicit Simulation(const SimulationInput& input)
      : input_(input),
        scheduler_(Options(input), input.capacity, input.devices),
        devices_(input.devices) {
    HEATKV_CHECK(!input.kinds.empty() && input.costs != nullptr);
    for (const RequestKind& kind : input.kinds) {
      HEATKV_CHECK(!kind.choices.empty() && kind.images >= 1);
      byte_seconds_.push_back(ByteSeconds(kind));
    }
  }

  SimulationReport Run() {
    upcoming_ = input_.requests();
    while (true) {
      if (AnyIsIdle()) {
        TakeArrivals();
        EndWhatIsOver();
        AskIdleDevices();
      }
      const int next = FirstToEnd();
      if (next < 0) {
        if (!upcoming_.has_value()) break;
        HEATKV_CHECK(alive_.empty()) << "requests wait, and nothing runs";
        if (input_.backlog == 0) AdvanceTo(upcoming_->arrives);
        continue;
      }
      const absl::Duration until = devices_[next].until;
      if (AnyIsIdle() && upcoming_.has_value() && input_.backlog == 0 &&
          upcoming_->arrives < until) {
        AdvanceTo(upcoming_->arrives);
        continue;
      }
      AdvanceTo(until);
      Complete(next);
    }
    HEATKV_CHECK(alive_.empty()) << "requests wait, and nothing runs";
    Finish();
    return std::move(report_);
  }

 private:
  // One request that has neither ended nor been refused.
  struct Alive {
    int kind = 0;
    const cache::Trajectory* trajectory = nullptr;  // once started
    int finished = 0;
    struct Image {
      int next_scale = -1;  // none before it starts and once it is finished
      int device = 0;
    };
    std::vector<Image> images;
    int started = 0;
    std::vector<bool> has_text;  // by device
  };

  // What a device does: nothing, a step, or one decoding after the other.
  struct Device {
    std::optional<Turn> turn;
    int scales = 0;  // of the turn's ladder
    bool is_decoding = false;
    std::size_t decoding = 0;  // which of the turn's images
    absl::Duration until;      // the end of the step or the decoding
    std::int64_t held = 0;     // between steps
    std::int64_t used = 0;     // now
  };

  struct Ending {
    absl::Duration when;
    std::uint64_t number;
    Outcome outcome;

    // The earliest is on top of a priority_queue.
    friend bool operator<(const Ending& a, const Ending& b) {
      return std::pair(a.when, a.number) > std::pair(b.when, b.number);
    }
  };

  // Integrals over time.
  struct Totals {
    absl::Duration time;
    absl::Duration busy;
    double running = 0;
    double used = 0;
    std::int64_t images = 0;
  };

  static SchedulerOptions Options(const SimulationInput& input) {
    SchedulerOptions options = input.scheduler;
    if (input.backlog > 0) options.queue.max_requests = input.backlog;
    return options;
  }

  absl::Time Now() const { return absl::UnixEpoch() + now_; }

  double ByteSeconds(const RequestKind& kind) const {
    const cache::Trajectory& trajectory = *kind.choices.front().trajectory;
    const int branches = trajectory.branches();
    double sum = 0;
    for (int s = 0; s < trajectory.schedule()->ladder().num_scales(); ++s) {
      const int images = input_.capacity(kind.ladder, s, branches);
      sum += static_cast<double>(trajectory.bytes(trajectory.blocks_peak(s))) *
             absl::ToDoubleSeconds(
                 input_.costs->Step(kind.ladder, s, branches, images)) /
             images;
    }
    return sum;
  }

  bool MayArrive() const {
    if (!upcoming_.has_value()) return false;
    if (input_.backlog > 0) return scheduler_.queue().size() < input_.backlog;
    return upcoming_->arrives <= now_;
  }

  void TakeArrivals() {
    while (MayArrive()) {
      SimulatedRequest request = *upcoming_;
      upcoming_ = input_.requests();
      if (input_.backlog > 0) request.arrives = now_;
      HEATKV_CHECK(report_.requests.empty() ||
                   request.arrives >= report_.requests.back().arrived);
      const auto count = static_cast<int>(report_.requests.size());
      if (count == input_.warm_up) {
        begin_ = totals_;
        measured_from_ = request.arrives;
      }
      end_ = totals_;
      measured_to_ = request.arrives;
      Take(request);
    }
  }

  void Take(const SimulatedRequest& request) {
    const RequestKind& kind = input_.kinds[request.kind];
    RequestRecord record;
    record.arrived = request.arrives;
    record.kind = request.kind;
    // The number of a request is its place in the report, from 1.
    const std::uint64_t number = report_.requests.size() + 1;
    const cache::Trajectory& asked = *kind.choices.front().trajectory;
    if (kind.choices.back().trajectory->peak_blocks() >
        input_.scheduler.limit_blocks) {
      record.outcome = Outcome::kNeverFits;
      record.ended = request.arrives;
    } else if (input_.backlog == 0 &&
               !scheduler_.queue()
                    .MayJoin(asked.peak_bytes() * kind.images)
                    .ok()) {
      record.outcome = Outcome::kRefused;
      record.ended = request.arrives;
    }
    report_.requests.push_back(record);
    if (record.outcome != Outcome::kFinished) return;

    ScheduledRequest scheduled;
    scheduled.number = number;
    scheduled.ladder = kind.ladder;
    scheduled.images = kind.images;
    scheduled.priority = request.priority;
    scheduled.tenant = input_.tenants[request.tenant];
    scheduled.arrived = absl::UnixEpoch() + request.arrives;
    scheduled.image_byte_seconds = byte_seconds_[request.kind];
    scheduled.choices = kind.choices;
    scheduler_.Enqueue(std::move(scheduled));
    alive_[number].kind = request.kind;
    alive_[number].images.resize(kind.images);
    alive_[number].has_text.resize(devices_.size());
    waiting_images_ += kind.images;
    if (request.cancelled_after <= request.deadline_after) {
      AddEnding(request.arrives + request.cancelled_after, number,
                Outcome::kCancelled);
    } else {
      AddEnding(request.arrives + request.deadline_after, number,
                Outcome::kLate);
    }
  }

  void AddEnding(absl::Duration when, std::uint64_t number, Outcome outcome) {
    if (when < absl::InfiniteDuration()) endings_.push({when, number, outcome});
  }

  void EndWhatIsOver() {
    while (!endings_.empty() && endings_.top().when <= now_) {
      const Ending ending = endings_.top();
      endings_.pop();
      const auto found = alive_.find(ending.number);
      if (found == alive_.end()) continue;
      const Alive& request = found->second;
      for (const Alive::Image& image : request.images) {
        if (image.next_scale < 0) continue;
        // A step that is under way still uses what it uses.
        Device& device = devices_[image.device];
        const std::int64_t blocks =
            request.trajectory->blocks_before(image.next_scale);
        device.held -= blocks;
        if (!IsInStep(device)) device.used -= blocks;
        --running_;
      }
      waiting_images_ -=
          static_cast<int>(request.images.size()) - request.started;
      scheduler_.RemoveRequest(ending.number);
      End(found, ending.outcome);
    }
  }

  void End(std::unordered_map<std::uint64_t, Alive>::iterator request,
           Outcome outcome) {
    RequestRecord& record = Record(request->first);
    record.ended = now_;
    record.outcome = outcome;
    alive_.erase(request);
  }

  static bool IsInStep(const Device& device) {
    return device.turn.has_value() && !device.is_decoding;
  }

  bool AnyIsIdle() const {
    return std::any_of(devices_.begin(), devices_.end(),
                       [](const Device& d) { return !d.turn.has_value(); });
  }

  // -1 if all are idle.
  int FirstToEnd() const {
    int first = -1;
    for (int d = 0; d < static_cast<int>(devices_.size()); ++d) {
      if (devices_[d].turn.has_value() &&
          (first < 0 || devices_[d].until < devices_[first].until)) {
        first = d;
      }
    }
    return first;
  }

  void AskIdleDevices() {
    // A device that gets a turn may give work to one that had none.
    bool any = true;
    while (any) {
      any = false;
      for (int d = 0; d < static_cast<int>(devices_.size()); ++d) {
        if (devices_[d].turn.has_value()) continue;
        std::optional<Turn> turn = scheduler_.Next(Now(), d);
        if (!turn.has_value()) continue;
        BeginStep(*std::move(turn), d);
        any = true;
      }
    }
  }

  void BeginStep(Turn turn, int d) {
    Device& device = devices_[d];
    absl::Duration took = input_.costs->Step(turn.ladder, turn.scale,
                                             turn.branches, turn.group.size());
    device.used = device.held;
    for (const ImageRef& ref : turn.group) {
      Alive& request = alive_.at(ref.request);
      if (turn.scale == 0) took += Start(ref, d, &request);
      HEATKV_CHECK_EQ(request.images[ref.image].next_scale, turn.scale);
      const cache::Trajectory& trajectory = *request.trajectory;
      device.used += trajectory.blocks_peak(turn.scale) -
                     trajectory.blocks_before(turn.scale);
      device.scales = trajectory.schedule()->ladder().num_scales();
    }
    HEATKV_CHECK_LE(device.used, scheduler_.EffectiveLimit(d));
    ++report_.turns;
    device.until = now_ + took;
    device.is_decoding = false;
    device.turn = std::move(turn);
  }

  void Complete(int d) {
    Device& device = devices_[d];
    const Turn& turn = *device.turn;
    if (device.is_decoding) {
      FinishImage(turn.group[device.decoding++]);
      BeginDecoding(&device);
      return;
    }
    const int scales = device.scales;
    for (const ImageRef& ref : turn.group) {
      const auto found = alive_.find(ref.request);
      if (found != alive_.end()) {
        StepDone(ref, &found->second, turn.scale, scales, &device);
      }
    }
    device.used = device.held;
    std::int64_t held = 0;
    for (const Device& each : devices_) held += each.held;
    report_.plan_error_blocks = std::max(
        report_.plan_error_blocks, std::abs(scheduler_.blocks_held() - held));
    if (turn.scale + 1 < scales) {
      device.turn.reset();
      return;
    }
    device.is_decoding = true;
    device.decoding = 0;
    BeginDecoding(&device);
  }

  // Of the next finished image of the turn, unless its request ended meanwhile.
  void BeginDecoding(Device* device) {
    const Turn& turn = *device->turn;
    for (; device->decoding < turn.group.size(); ++device->decoding) {
      EndWhatIsOver();
      if (!alive_.contains(turn.group[device->decoding].request)) continue;
      device->until = now_ + input_.costs->Decode(turn.ladder);
      return;
    }
    device->turn.reset();
  }

  void FinishImage(const ImageRef& ref) {
    const auto found = alive_.find(ref.request);
    if (found == alive_.end()) return;
    ++totals_.images;
    Alive& request = found->second;
    if (++request.finished == input_.kinds[request.kind].images) {
      End(found, Outcome::kFinished);
    }
  }

  // The time that starting takes beside the step.
  absl::Duration Start(const ImageRef& ref, int device, Alive* request) {
    request->images[ref.image] = {.next_scale = 0, .device = device};
    ++request->started;
    ++running_;
    --waiting_images_;
    report_.most_running_images =
        std::max(report_.most_running_images, running_);
    const absl::Duration text =
        request->has_text[device] ? absl::ZeroDuration() : input_.costs->text();
    request->has_text[device] = true;
    if (request->trajectory != nullptr) return text;
    request->trajectory = scheduler_.Choice(ref.request).trajectory.get();
    RequestRecord& record = Record(ref.request);
    record.started = now_;
    const auto& choices = input_.kinds[request->kind].choices;
    while (choices[++record.choice].trajectory.get() != request->trajectory) {
    }
    return text;
  }

  void StepDone(const ImageRef& ref, Alive* request, int scale, int scales,
                Device* device) {
    const cache::Trajectory& trajectory = *request->trajectory;
    scheduler_.StepDone(ref);
    device->held +=
        trajectory.blocks_after(scale) - trajectory.blocks_before(scale);
    int& next = request->images[ref.image].next_scale;
    ++next;
    if (scale == 0 && ref.image == 0) Record(ref.request).first_scale = now_;
    if (next == scales) {
      next = -1;
      --running_;
    }
  }

  void AdvanceTo(absl::Duration when) {
    const absl::Duration time = when - now_;
    std::int64_t used = 0;
    int busy = 0;
    for (const Device& device : devices_) {
      used += device.used;
      busy += device.turn.has_value();
    }
    report_.most_used_blocks = std::max(report_.most_used_blocks, used);
    report_.trace.Add(now_, when,
                      {.used_blocks = used,
                       .running_images = running_,
                       .waiting_images = waiting_images_});
    now_ = when;
    const double seconds = absl::ToDoubleSeconds(time);
    totals_.time += time;
    totals_.busy += time * busy / static_cast<int>(devices_.size());
    totals_.running += seconds * running_;
    totals_.used += seconds * static_cast<double>(used);
  }

  RequestRecord& Record(std::uint64_t number) {
    return report_.requests[number - 1];
  }

  void Finish() {
    report_.length = now_;
    report_.busy = totals_.busy;
    report_.images = totals_.images;
    report_.measured = measured_to_ - measured_from_;
    const absl::Duration time = end_.time - begin_.time;
    if (time <= absl::ZeroDuration()) return;
    const double seconds = absl::ToDoubleSeconds(time);
    report_.mean_running_images = (end_.running - begin_.running) / seconds;
    report_.mean_used_blocks = (end_.used - begin_.used) / seconds;
    report_.images_per_second =
        static_cast<double>(end_.images - begin_.images) / seconds;
    report_.utilisation = absl::FDivDuration(end_.busy - begin_.busy, time);
  }

  const SimulationInput& input_;
  Scheduler scheduler_;
  std::vector<double> byte_seconds_;  // of one image of each kind
  std::optional<SimulatedRequest> upcoming_;
  std::unordered_map<std::uint64_t, Alive> alive_;
  std::priority_queue<Ending> endings_;

  absl::Duration now_;
  std::vector<Device> devices_;
  int running_ = 0;
  int waiting_images_ = 0;

  SimulationReport report_;
  Totals totals_;
  Totals begin_;  // where the measured time begins and ends
  Totals end_;
  absl::Duration measured_from_;
  absl::Duration measured_to_;
};

}  // namespace

int SimulationReport::Count(Outcome outcome) const {
  return static_cast<int>(std::count_if(requests.begin(), requests.end(),
                                        [&](const RequestRecord& request) {
                                          return request.outcome == outcome;
                                        }));
}

SimulationReport Simulate(const SimulationInput& input) {
  return Simulation(input).Run();
}

}  // namespace heatkv::server
