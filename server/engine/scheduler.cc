#include "server/engine/scheduler.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "cache/admission.h"

namespace heatkv::server {
namespace {

// The class of something that has been here since `arrived` (fair_queue.h).
int ClassOf(Priority priority, absl::Time arrived, absl::Time now,
            absl::Duration aging) {
  const int highest = static_cast<int>(Priority::kHigh);
  const std::int64_t risen =
      std::clamp<std::int64_t>((now - arrived) / aging, 0, highest);
  return std::min(highest,
                  static_cast<int>(priority) + static_cast<int>(risen));
}

std::int64_t TokensFrom(const cache::Trajectory& trajectory, int scale) {
  const cache::ScaleLadder& ladder = trajectory.schedule()->ladder();
  std::int64_t tokens = 0;
  for (int s = scale; s < ladder.num_scales(); ++s) tokens += ladder.tokens(s);
  return tokens * trajectory.branches();
}

}  // namespace

struct Scheduler::State {
  struct Request {
    ScheduledRequest asked;
    int choice = -1;  // none before its first image starts
    int started = 0;
    int running = 0;
  };

  // One image in flight; `images` holds its progress at the same index.
  struct Image {
    ImageRef ref;
    Request* request = nullptr;
    absl::Time started;
    std::int64_t tokens_left = 0;
    bool in_turn = false;
  };

  // What a step has in common.
  struct Kind {
    int ladder = 0;
    int scale = 0;
    int branches = 0;

    friend bool operator==(const Kind&, const Kind&) = default;
  };

  // Who goes first, smallest first.
  struct Rank {
    int is_in_time = 1;     // 0 if in flight for so long that nobody overtakes
    int below_highest = 0;  // highest class minus its own
    int is_alone = 0;       // preview: runs in no group
    std::int64_t left = 0;  // tokens left, or the scale

    friend auto operator<=>(const Rank&, const Rank&) = default;
  };

  State(SchedulerOptions options, StepCapacity capacity)
      : options(std::move(options)),
        capacity(std::move(capacity)),
        queue(this->options.queue) {}

  const cache::ImageProgress& progress(int index) const {
    return images[index];
  }
  Kind KindOf(int index) const {
    return {flight[index].request->asked.ladder, images[index].next_scale,
            images[index].trajectory->branches()};
  }
  int ClassOfImage(int index, absl::Time now) const {
    const ScheduledRequest& asked = flight[index].request->asked;
    return ClassOf(asked.priority, asked.arrived, now, options.queue.aging);
  }
  // Without this, a large image could be overtaken for ever by small ones.
  bool IsOverdue(int index, absl::Time now) const {
    const absl::Duration aging = options.queue.aging;
    return now >= flight[index].started + aging + aging;
  }
  int ClassOfWaiting(const QueuedRequest& waiting, absl::Time now) const {
    return ClassOf(waiting.priority, waiting.arrived, now, options.queue.aging);
  }

  Rank RankOf(int image_class, const Kind& kind, std::int64_t left) const {
    Rank rank;
    rank.below_highest = static_cast<int>(Priority::kHigh) - image_class;
    rank.left = left;
    if (options.policy == SchedulingPolicy::kPreview) {
      rank.is_alone = capacity(kind.ladder, kind.scale, kind.branches) == 1;
      if (!rank.is_alone) rank.left = kind.scale;
    }
    return rank;
  }

  Rank RankInFlight(int index, absl::Time now) const {
    if (IsOverdue(index, now)) return {.is_in_time = 0};
    return RankOf(ClassOfImage(index, now), KindOf(index),
                  flight[index].tokens_left);
  }

  // The tier on which an image of `request` starts: the one that was granted,
  // or else the first of its choices with which every peak fits, or the last.
  int Choose(const Request& request) const {
    if (request.choice >= 0) return request.choice;
    const auto& choices = request.asked.choices;
    for (std::size_t i = 0; i + 1 < choices.size(); ++i) {
      if (peak_sum + choices[i].trajectory->peak_blocks() <= limit()) {
        return static_cast<int>(i);
      }
    }
    return static_cast<int>(choices.size()) - 1;
  }

  std::int64_t limit() const { return options.limit_blocks; }

  // Puts the limit that was lowered in force, as far as images allow.
  std::int64_t EffectiveLimit() const {
    if (!is_lowered) return limit();
    return std::max(limit(), cache::SafeCapacity(images));
  }

  // Whether the images at `group` may step together under `limit`.
  bool MayStep(std::int64_t limit, const std::vector<int>& group) const {
    // No order of steps holds more than the sum of peaks.
    if (peak_sum <= limit) return true;
    return cache::MayStep(limit, images, group);
  }

  // Whether two images in flight may do the same, because all that matters to
  // the pool is the same; `one` may be -1, no image.
  bool AreAlike(int one, int other) const {
    return one >= 0 && images[one].trajectory == images[other].trajectory &&
           images[one].next_scale == images[other].next_scale;
  }

  void AddImage(Request* request, int index_in_request, absl::Time now) {
    const TierChoice& choice = request->asked.choices[request->choice];
    Image image;
    image.ref = {request->asked.number, index_in_request};
    image.request = request;
    image.started = now;
    image.tokens_left = TokensFrom(*choice.trajectory, 0);
    flight.push_back(image);
    images.push_back({choice.trajectory.get(), 0});
    peak_sum += images.back().peak_blocks();
  }

  void DropImage(int index) {
    held -= images[index].blocks_held();
    peak_sum -= images[index].peak_blocks();
    if (flight[index].in_turn) --in_turn;
    --flight[index].request->running;
    flight.erase(flight.begin() + index);
    images.erase(images.begin() + index);
  }

  int Find(const ImageRef& ref) const {
    for (std::size_t i = 0; i < flight.size(); ++i) {
      if (flight[i].ref == ref) return static_cast<int>(i);
    }
    return -1;
  }

  void ForgetIfDone(std::uint64_t number) {
    const auto found = requests.find(number);
    if (found == requests.end()) return;
    const Request& request = found->second;
    if (request.running == 0 && request.started == request.asked.images) {
      requests.erase(found);
    }
  }

  // Starts the image that is next in the queue, if it is of `kind` and may be
  // in the group beside `group`, and adds it there. With an empty group, any
  // kind is right.
  bool StartNext(absl::Time now, std::int64_t limit, std::vector<int>* group,
                 std::optional<Kind>* kind) {
    if (is_lowered ||
        static_cast<int>(flight.size()) >= options.max_running_images) {
      return false;
    }
    const QueuedRequest* const waiting = queue.Next(now);
    if (waiting == nullptr) return false;
    const std::uint64_t number = waiting->number;
    Request& request = requests.at(number);
    const int choice = Choose(request);
    const cache::Trajectory& trajectory =
        *request.asked.choices[choice].trajectory;
    const Kind its_kind = {request.asked.ladder, 0, trajectory.branches()};
    if (kind->has_value() && **kind != its_kind) return false;
    if (options.rule == AdmissionRule::kSumOfPeaks &&
        peak_sum + trajectory.peak_blocks() > limit) {
      return false;
    }
    // Alone it fits in the end, if only on another tier.
    if (trajectory.peak_blocks() > limit) return false;

    const int before = request.choice;
    request.choice = choice;
    AddImage(&request, request.started, now);
    group->push_back(static_cast<int>(flight.size()) - 1);
    if (!MayStep(limit, *group)) {
      group->pop_back();
      peak_sum -= images.back().peak_blocks();
      flight.pop_back();
      images.pop_back();
      request.choice = before;
      return false;
    }
    ++request.started;
    ++request.running;
    queue.TakeImage(number, now);
    *kind = its_kind;
    return true;
  }

  // Adds to `group` everybody who may do the same step: images in flight in
  // the order of their ranks, then, at scale 0, images that start.
  void Fill(absl::Time now, std::int64_t limit, const Kind& kind,
            std::vector<int>* group) {
    const int room = capacity(kind.ladder, kind.scale, kind.branches);
    std::vector<std::pair<Rank, int>> others;
    for (int i = 0; i < static_cast<int>(flight.size()); ++i) {
      if (KindOf(i) != kind ||
          std::find(group->begin(), group->end(), i) != group->end()) {
        continue;
      }
      others.push_back({RankInFlight(i, now), i});
    }
    std::sort(others.begin(), others.end());
    int refused = -1;
    for (const auto& [rank, index] : others) {
      if (static_cast<int>(group->size()) >= room) return;
      if (AreAlike(refused, index)) continue;
      group->push_back(index);
      if (MayStep(limit, *group)) {
        refused = -1;
      } else {
        group->pop_back();
        refused = index;
      }
    }
    if (kind.scale != 0) return;
    std::optional<Kind> same = kind;
    while (static_cast<int>(group->size()) < room &&
           StartNext(now, limit, group, &same)) {
    }
  }

  // Whether an image of class `waiting_class` and kind `kind` goes before all
  // that is in flight.
  bool GoesFirst(int waiting_class, const Kind& kind, absl::Time now) const {
    if (options.policy == SchedulingPolicy::kLatency) {
      for (int i = 0; i < static_cast<int>(flight.size()); ++i) {
        if (IsOverdue(i, now) || ClassOfImage(i, now) >= waiting_class) {
          return false;
        }
      }
      return true;
    }
    const Rank rank = RankOf(waiting_class, kind, 0);
    for (int i = 0; i < static_cast<int>(flight.size()); ++i) {
      if (RankInFlight(i, now) < rank) return false;
    }
    return true;
  }

  SchedulerOptions options;
  StepCapacity capacity;
  FairQueue queue;
  // Elements stay where they are: images point at them.
  std::unordered_map<std::uint64_t, Request> requests;
  std::vector<Image> flight;                 // in the order of their starts
  std::vector<cache::ImageProgress> images;  // of `flight`
  std::int64_t held = 0;
  std::int64_t peak_sum = 0;
  int in_turn = 0;          // images of the turn that were not reported yet
  bool is_lowered = false;  // the limit, below what images in flight need
};

Scheduler::Scheduler(SchedulerOptions options, StepCapacity capacity)
    : state_(std::make_unique<State>(std::move(options), std::move(capacity))) {
}

Scheduler::~Scheduler() = default;

void Scheduler::SetOptions(SchedulerOptions options) {
  State& s = *state_;
  s.options = std::move(options);
  s.queue.SetOptions(s.options.queue);
  // A turn may be under way, after which images hold more: Next finds out.
  s.is_lowered = true;
}

const SchedulerOptions& Scheduler::options() const { return state_->options; }

const FairQueue& Scheduler::queue() const { return state_->queue; }

void Scheduler::SetHeld(std::uint64_t request, bool held) {
  state_->queue.SetHeld(request, held);
}

void Scheduler::Enqueue(ScheduledRequest request) {
  HEATKV_CHECK(!request.choices.empty() && request.images >= 1);
  QueuedRequest queued;
  queued.number = request.number;
  queued.tenant = request.tenant;
  queued.priority = request.priority;
  queued.arrived = request.arrived;
  queued.images = request.images;
  queued.image_bytes = request.choices.front().trajectory->peak_bytes();
  queued.image_byte_seconds = request.image_byte_seconds;
  state_->queue.Join(std::move(queued));
  const std::uint64_t number = request.number;
  state_->requests[number].asked = std::move(request);
}

std::optional<Turn> Scheduler::Next(absl::Time now) {
  State& s = *state_;
  HEATKV_CHECK_EQ(s.in_turn, 0) << "the turn before is not reported";
  const std::int64_t limit = s.EffectiveLimit();
  s.is_lowered = limit > s.limit();

  std::vector<int> group;
  std::optional<State::Kind> kind;
  if (const QueuedRequest* waiting = s.queue.Next(now)) {
    const ScheduledRequest& asked = s.requests.at(waiting->number).asked;
    const State::Kind its_kind = {asked.ladder, 0,
                                  asked.choices.front().trajectory->branches()};
    if (s.GoesFirst(s.ClassOfWaiting(*waiting, now), its_kind, now)) {
      s.StartNext(now, limit, &group, &kind);
    }
  }
  if (group.empty() && !s.flight.empty()) {
    std::vector<std::pair<State::Rank, int>> order;
    for (int i = 0; i < static_cast<int>(s.flight.size()); ++i) {
      order.push_back({s.RankInFlight(i, now), i});
    }
    std::sort(order.begin(), order.end());
    int refused = -1;
    for (const auto& [rank, index] : order) {
      if (s.AreAlike(refused, index)) continue;
      group = {index};
      if (s.MayStep(limit, group)) break;
      group.clear();
      refused = index;
    }
    HEATKV_CHECK(!group.empty())
        << "no image can go on: " << s.held << " blocks held of " << limit;
    kind = s.KindOf(group.front());
  }
  if (group.empty()) return std::nullopt;
  s.Fill(now, limit, *kind, &group);

  Turn turn;
  turn.ladder = kind->ladder;
  turn.scale = kind->scale;
  turn.branches = kind->branches;
  for (const int index : group) {
    s.flight[index].in_turn = true;
    turn.group.push_back(s.flight[index].ref);
  }
  s.in_turn = static_cast<int>(group.size());
  return turn;
}

void Scheduler::StepDone(ImageRef image) {
  State& s = *state_;
  const int index = s.Find(image);
  HEATKV_CHECK(index >= 0 && s.flight[index].in_turn)
      << "request " << image.request << ", image " << image.image;
  cache::ImageProgress& progress = s.images[index];
  const cache::ScaleLadder& ladder = progress.trajectory->schedule()->ladder();
  s.held -= progress.blocks_held();
  s.peak_sum -= progress.peak_blocks();
  s.flight[index].tokens_left -=
      std::int64_t{ladder.tokens(progress.next_scale)} *
      progress.trajectory->branches();
  ++progress.next_scale;
  s.held += progress.blocks_held();
  s.peak_sum += progress.peak_blocks();
  s.flight[index].in_turn = false;
  --s.in_turn;
  if (progress.next_scale == ladder.num_scales()) {
    s.DropImage(index);
    s.ForgetIfDone(image.request);
  }
}

void Scheduler::RemoveImage(ImageRef image) {
  State& s = *state_;
  const int index = s.Find(image);
  if (index < 0) return;
  s.DropImage(index);
  s.ForgetIfDone(image.request);
}

void Scheduler::RemoveRequest(std::uint64_t number) {
  State& s = *state_;
  s.queue.Remove(number);
  for (int i = static_cast<int>(s.flight.size()) - 1; i >= 0; --i) {
    if (s.flight[i].ref.request == number) s.DropImage(i);
  }
  s.requests.erase(number);
}

const TierChoice& Scheduler::Choice(std::uint64_t request) const {
  const State::Request& found = state_->requests.at(request);
  HEATKV_CHECK_GE(found.choice, 0) << "request " << request;
  return found.asked.choices[found.choice];
}

std::int64_t Scheduler::LeastPeak(std::uint64_t request) const {
  const State::Request& found = state_->requests.at(request);
  const auto& choices = found.asked.choices;
  const TierChoice& choice =
      found.choice >= 0 ? choices[found.choice] : choices.back();
  return choice.trajectory->peak_blocks();
}

std::int64_t Scheduler::EffectiveLimit() const {
  return state_->EffectiveLimit();
}

bool Scheduler::WouldStartNow(const ScheduledRequest& request, absl::Time now,
                              std::string* reason) const {
  const State& s = *state_;
  if (!s.queue.empty()) {
    *reason = absl::StrCat(s.queue.size(), " requests wait before it");
    return false;
  }
  if (static_cast<int>(s.flight.size()) >= s.options.max_running_images) {
    *reason =
        absl::StrCat(s.flight.size(), " of at most ",
                     s.options.max_running_images, " images are in the making");
    return false;
  }
  State::Request candidate;
  candidate.asked = request;
  const cache::Trajectory& trajectory =
      *request.choices[s.Choose(candidate)].trajectory;
  const State::Kind kind = {request.ladder, 0, trajectory.branches()};
  const int its_class =
      ClassOf(request.priority, now, now, s.options.queue.aging);
  if (!s.GoesFirst(its_class, kind, now)) {
    *reason = absl::StrCat(s.flight.size(), " images in the making go first");
    return false;
  }
  const cache::AdmissionDecision decision =
      s.options.rule == AdmissionRule::kSafeState
          ? cache::DecideAdmission(s.limit(), s.images, trajectory)
          : cache::DecideAdmissionBySumOfPeaks(s.limit(), s.images, trajectory);
  if (s.is_lowered || decision.verdict != cache::AdmissionVerdict::kAdmit) {
    *reason = absl::StrCat("all together need a pool of ",
                           trajectory.bytes(decision.blocks_needed),
                           " bytes; it has ", trajectory.bytes(s.limit()));
    return false;
  }
  reason->clear();
  return true;
}

std::vector<Scheduler::Flight> Scheduler::InFlight() const {
  std::vector<Flight> all;
  for (std::size_t i = 0; i < state_->flight.size(); ++i) {
    all.push_back({state_->flight[i].ref,
                   state_->flight[i].request->asked.ladder, state_->images[i]});
  }
  return all;
}

int Scheduler::running_images() const {
  return static_cast<int>(state_->flight.size());
}

std::int64_t Scheduler::blocks_held() const { return state_->held; }

std::int64_t Scheduler::peak_sum_blocks() const { return state_->peak_sum; }

}  // namespace heatkv::server
