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
      : input_(input), scheduler_(Options(input), input.capacity) {
    HEATKV_CHECK(!input.kinds.empty() && input.costs != nullptr);
    for (const RequestKind& kind : input.kinds) {
      HEATKV_CHECK(!kind.choices.empty() && kind.images >= 1);
      byte_seconds_.push_back(ByteSeconds(kind));
    }
  }

  SimulationReport Run() {
    upcoming_ = input_.requests();
    while (true) {
      TakeArrivals();
      EndWhatIsOver();
      const std::optional<Turn> turn = scheduler_.Next(Now());
      if (turn.has_value()) {
        Execute(*turn);
      } else if (upcoming_.has_value()) {
        HEATKV_CHECK(alive_.empty()) << "requests wait, and nothing runs";
        if (input_.backlog == 0) Pass(upcoming_->arrives - now_);
      } else {
        break;
      }
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
    std::vector<int> next_scales;  // of the images that started
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
      for (const int scale : request.next_scales) {
        if (scale < 0) continue;  // finished
        held_ -= request.trajectory->blocks_before(scale);
        --running_;
      }
      waiting_images_ -= input_.kinds[request.kind].images -
                         static_cast<int>(request.next_scales.size());
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

  void Execute(const Turn& turn) {
    absl::Duration took = input_.costs->Step(turn.ladder, turn.scale,
                                             turn.branches, turn.group.size());
    std::int64_t used = held_;
    in_turn_.clear();
    for (const ImageRef& ref : turn.group) {
      Alive& request = alive_.at(ref.request);
      if (turn.scale == 0) took += Start(ref, &request);
      in_turn_.push_back(&request);
      HEATKV_CHECK_EQ(request.next_scales[ref.image], turn.scale);
      used += request.trajectory->blocks_peak(turn.scale) -
              request.trajectory->blocks_before(turn.scale);
    }
    HEATKV_CHECK_LE(used, scheduler_.EffectiveLimit());
    ++report_.turns;
    Spend(took, used);
    for (std::size_t i = 0; i < turn.group.size(); ++i) {
      StepDone(turn.group[i], in_turn_[i], turn.scale);
    }
    report_.plan_error_blocks = std::max(
        report_.plan_error_blocks, std::abs(scheduler_.blocks_held() - held_));
    const int scales =
        in_turn_.front()->trajectory->schedule()->ladder().num_scales();
    if (turn.scale + 1 < scales) return;
    for (const ImageRef& ref : turn.group) Decode(ref, turn.ladder);
  }

  // A finished image, unless its request ended meanwhile.
  void Decode(const ImageRef& ref, int ladder) {
    EndWhatIsOver();
    const auto found = alive_.find(ref.request);
    if (found == alive_.end()) return;
    Alive& request = found->second;
    Spend(input_.costs->Decode(ladder), held_);
    ++totals_.images;
    if (++request.finished == input_.kinds[request.kind].images) {
      End(found, Outcome::kFinished);
    }
  }

  // The time that starting takes beside the step.
  absl::Duration Start(const ImageRef& ref, Alive* request) {
    HEATKV_CHECK_EQ(ref.image, request->next_scales.size());
    request->next_scales.push_back(0);
    ++running_;
    --waiting_images_;
    report_.most_running_images =
        std::max(report_.most_running_images, running_);
    if (request->trajectory != nullptr) return absl::ZeroDuration();
    request->trajectory = scheduler_.Choice(ref.request).trajectory.get();
    RequestRecord& record = Record(ref.request);
    record.started = now_;
    const auto& choices = input_.kinds[request->kind].choices;
    while (choices[++record.choice].trajectory.get() != request->trajectory) {
    }
    return input_.costs->text();
  }

  void StepDone(const ImageRef& ref, Alive* request, int scale) {
    const cache::Trajectory& trajectory = *request->trajectory;
    scheduler_.StepDone(ref);
    held_ += trajectory.blocks_after(scale) - trajectory.blocks_before(scale);
    int& next = request->next_scales[ref.image];
    ++next;
    if (scale == 0 && ref.image == 0) Record(ref.request).first_scale = now_;
    if (next == trajectory.schedule()->ladder().num_scales()) {
      next = -1;
      --running_;
    }
  }

  void Spend(absl::Duration time, std::int64_t used) {
    report_.most_used_blocks = std::max(report_.most_used_blocks, used);
    totals_.busy += time;
    Advance(time, used);
  }

  void Pass(absl::Duration time) { Advance(time, held_); }

  void Advance(absl::Duration time, std::int64_t used) {
    report_.trace.Add(now_, now_ + time,
                      {.used_blocks = used,
                       .running_images = running_,
                       .waiting_images = waiting_images_});
    now_ += time;
    const double seconds = absl::ToDoubleSeconds(time);
    totals_.time += time;
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
  std::vector<Alive*> in_turn_;  // of the turn's group; kept for its memory

  absl::Duration now_;
  std::int64_t held_ = 0;  // between steps
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
