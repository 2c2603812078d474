#include "client/bench/load_run.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "client/bench/arrivals.h"
#include "client/bench/droppable_channel.h"
#include "client/bench/stream_run.h"

namespace heatkv::client {
namespace {

using Clock = std::chrono::steady_clock;

constexpr absl::Duration kConnectPatience = absl::Seconds(5);

Clock::duration ToClock(absl::Duration duration) {
  return std::chrono::duration_cast<Clock::duration>(
      absl::ToChronoNanoseconds(duration));
}

// What the requests tell when they end; shared, because a reaction may return
// after the load has.
class Ledger {
 public:
  void Add(RequestRecord record) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      state_.ended += 1;
      state_.images += static_cast<int>(record.images.size());
      state_.unintended += WhyUnintended(record).empty() ? 0 : 1;
      ended_.push_back(record.index);
      records_.push_back(std::move(record));
    }
    changed_.notify_all();
  }

  LoadState state() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return state_;
  }

  // Until more than `ended` requests have ended, at most until `until`.
  void Await(int ended, Instant until) const {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_until(lock, until, [&] { return state_.ended > ended; });
  }

  // The requests that ended since the last call.
  std::vector<int> TakeEnded() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(ended_, {});
  }

  std::vector<RequestRecord> TakeRecords() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::move(records_);
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  LoadState state_;
  std::vector<int> ended_;
  std::vector<RequestRecord> records_;
};

}  // namespace

absl::StatusOr<LoadResult> RunLoad(
    const std::string& server, const std::vector<Connection>& connections,
    const Mix& mix, const FaultDraws& faults, const LoadOptions& options,
    absl::Duration tick,
    const std::function<absl::Status(const LoadState&)>& on_tick) {
  const auto ledger = std::make_shared<Ledger>();
  const Instant begin = Clock::now();
  const Instant end = options.duration == absl::InfiniteDuration()
                          ? Instant::max()
                          : begin + ToClock(options.duration);
  std::optional<Arrivals> arrivals;
  Instant next_due = begin;
  if (options.rate.has_value()) {
    arrivals.emplace(*options.rate, options.seed);
    next_due = begin + ToClock(arrivals->Next());
  }
  absl::Status failure;
  int started = 0;
  // The connections of those who vanish, by request.
  std::map<int, std::shared_ptr<DroppableChannel>> droppables;
  const auto start_one = [&](Instant due) {
    StreamStart start;
    start.index = started;
    start.request = mix.At(started);
    start.plan = faults.At(started);
    start.pauses = options.pauses;
    start.timeout = options.timeout;
    start.begin = begin;
    start.due = due;
    if (start.plan.fault == Fault::kVanish) {
      auto droppable = DroppableChannel::Open(server, kConnectPatience);
      if (!droppable.ok()) {
        failure = droppable.status();
        return;
      }
      start.droppable = droppables[started] = *std::move(droppable);
    }
    const Connection& connection = connections[started % connections.size()];
    ++started;
    StartStream(connection, std::move(start), [ledger](RequestRecord record) {
      ledger->Add(std::move(record));
    });
  };
  // When the next request starts; nothing if none ever will.
  const auto next_start = [&](int ended) -> std::optional<Instant> {
    if (!failure.ok() || (options.requests && started >= *options.requests)) {
      return std::nullopt;
    }
    if (arrivals.has_value()) {
      return next_due < end ? std::optional(next_due) : std::nullopt;
    }
    if (Clock::now() >= end) return std::nullopt;
    return started - ended < options.concurrency ? begin : end;
  };

  Instant next_tick = begin + ToClock(tick);
  while (true) {
    LoadState state = ledger->state();
    for (const int ended : ledger->TakeEnded()) droppables.erase(ended);
    const Instant now = Clock::now();
    const std::optional<Instant> start = next_start(state.ended);
    if (start.has_value() && *start <= now && now < end) {
      start_one(arrivals.has_value() ? next_due : now);
      if (arrivals.has_value()) next_due = begin + ToClock(arrivals->Next());
      continue;
    }
    const bool is_over = !start.has_value() && state.ended == started;
    if (is_over || now >= next_tick) {
      state.started = started;
      state.requests = options.requests;
      state.seconds = std::chrono::duration<double>(now - begin).count();
      failure.Update(on_tick(state));
      next_tick = now + ToClock(tick);
    }
    if (is_over) {
      if (!failure.ok()) return failure;
      LoadResult result{ledger->TakeRecords(), state.seconds};
      std::sort(result.records.begin(), result.records.end(),
                [](const auto& a, const auto& b) { return a.index < b.index; });
      return result;
    }
    ledger->Await(state.ended,
                  start.has_value() ? std::min(next_tick, *start) : next_tick);
  }
}

}  // namespace heatkv::client
