#include "server/engine/fair_queue.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "server/engine/deficit_round_robin.h"

namespace heatkv::server {
namespace {

constexpr int kClasses = 3;

struct Entry {
  QueuedRequest request;
  std::uint64_t order = 0;  // of arrival
  int tenant = 0;
  bool held = false;
};

// Whose requests wait.  A lane has those of one priority that are not held, in
// the order of arrival; the first of a lane is of its highest class.
struct Tenant {
  std::string name;
  std::array<std::map<std::uint64_t, Entry*>, kClasses> lanes;
  int requests = 0;  // held ones included
};

int Lane(const QueuedRequest& request) {
  return static_cast<int>(request.priority);
}

int Class(const QueuedRequest& request, absl::Duration aging, absl::Time now) {
  int result = Lane(request);
  absl::Time rises = request.arrived + aging;
  while (result < kClasses - 1 && now >= rises) {
    ++result;
    rises += aging;
  }
  return result;
}

// By tenant: who of the highest class present is next, if any, and its price.
struct Heads {
  absl::InlinedVector<const Entry*, 16> entry;
  absl::InlinedVector<double, 16> price;
};

// `front(tenant, lane)` is the first entry of a lane, or null.
template <typename Front>
Heads FindHeads(int tenants, absl::Duration aging, absl::Time now,
                Front front) {
  Heads heads;
  heads.entry.resize(tenants, nullptr);
  heads.price.resize(tenants, -1);
  absl::InlinedVector<int, 16> classes(tenants, -1);
  int highest = -1;
  for (int t = 0; t < tenants; ++t) {
    const Entry*& head = heads.entry[t];
    for (int lane = 0; lane < kClasses; ++lane) {
      const Entry* first = front(t, lane);
      if (first == nullptr) continue;
      const int its = Class(first->request, aging, now);
      if (its > classes[t] ||
          (its == classes[t] && first->order < head->order)) {
        classes[t] = its;
        head = first;
      }
    }
    highest = std::max(highest, classes[t]);
  }
  for (int t = 0; t < tenants; ++t) {
    if (heads.entry[t] == nullptr || classes[t] != highest) continue;
    heads.price[t] = heads.entry[t]->request.image_byte_seconds;
  }
  return heads;
}

}  // namespace

struct FairQueue::State {
  QueueOptions options;
  std::list<Entry> entries;  // in the order of arrival
  absl::flat_hash_map<std::uint64_t, std::list<Entry>::iterator> by_number;
  // Slots of tenants; those without requests are free.
  std::vector<Tenant> tenants;
  std::vector<int> free_slots;
  absl::flat_hash_map<std::string, int> slots;
  DeficitRoundRobin round;
  std::uint64_t arrivals = 0;
  int images = 0;
  std::int64_t bytes = 0;

  double Weight(const std::string& tenant) const {
    const auto found = options.weights.find(tenant);
    return found == options.weights.end() ? 1.0 : found->second;
  }

  int FindOrAddTenant(const std::string& name) {
    const auto found = slots.find(name);
    if (found != slots.end()) return found->second;
    int slot = static_cast<int>(tenants.size());
    if (free_slots.empty()) {
      tenants.emplace_back();
    } else {
      slot = free_slots.back();
      free_slots.pop_back();
    }
    tenants[slot].name = name;
    slots[name] = slot;
    round.Join(slot, Weight(name));
    return slot;
  }

  std::map<std::uint64_t, Entry*>& LaneOf(const Entry& entry) {
    return tenants[entry.tenant].lanes[Lane(entry.request)];
  }

  void Erase(std::list<Entry>::iterator entry) {
    if (!entry->held) LaneOf(*entry).erase(entry->order);
    Tenant& tenant = tenants[entry->tenant];
    if (--tenant.requests == 0) {
      round.Leave(entry->tenant);
      slots.erase(tenant.name);
      free_slots.push_back(entry->tenant);
    }
    by_number.erase(entry->request.number);
    entries.erase(entry);
  }

  Heads FindHeads(absl::Time now) const {
    return server::FindHeads(
        static_cast<int>(tenants.size()), options.aging, now,
        [this](int tenant, int lane) -> const Entry* {
          const auto& waiting = tenants[tenant].lanes[lane];
          return waiting.empty() ? nullptr : waiting.begin()->second;
        });
  }
};

FairQueue::FairQueue(QueueOptions options) : state_(new State) {
  SetOptions(std::move(options));
}

FairQueue::~FairQueue() = default;
FairQueue::FairQueue(FairQueue&&) noexcept = default;
FairQueue& FairQueue::operator=(FairQueue&&) noexcept = default;

void FairQueue::SetOptions(QueueOptions options) {
  HEATKV_CHECK(options.aging > absl::ZeroDuration()) << options.aging;
  state_->options = std::move(options);
  for (const auto& [name, slot] : state_->slots) {
    state_->round.SetWeight(slot, state_->Weight(name));
  }
}

absl::Status FairQueue::MayJoin(std::int64_t bytes) const {
  const QueueOptions& options = state_->options;
  if (size() >= options.max_requests) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", size(), " of ",
                     options.max_requests, " requests"));
  }
  if (!empty() && bytes > options.max_bytes - state_->bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: the waiting images will hold ",
                     state_->bytes, " bytes and this request ", bytes,
                     " more, but ", options.max_bytes, " may wait"));
  }
  return absl::OkStatus();
}

void FairQueue::Join(QueuedRequest request) {
  HEATKV_CHECK_GE(request.images, 1);
  HEATKV_CHECK_GE(request.image_byte_seconds, 0);
  State& s = *state_;
  s.images += request.images;
  s.bytes += request.images * request.image_bytes;
  const std::uint64_t number = request.number;
  const int tenant = s.FindOrAddTenant(request.tenant);
  s.entries.push_back(
      {.request = std::move(request), .order = s.arrivals++, .tenant = tenant});
  Entry& entry = s.entries.back();
  const bool is_new =
      s.by_number.emplace(number, std::prev(s.entries.end())).second;
  HEATKV_CHECK(is_new) << "request " << number << " waits already";
  ++s.tenants[tenant].requests;
  s.LaneOf(entry).emplace(entry.order, &entry);
}

const QueuedRequest* FairQueue::Next(absl::Time now) const {
  const Heads heads = state_->FindHeads(now);
  const int tenant = state_->round.Next(heads.price);
  return tenant < 0 ? nullptr : &heads.entry[tenant]->request;
}

void FairQueue::TakeImage(std::uint64_t number, absl::Time now) {
  State& s = *state_;
  const auto found = s.by_number.find(number);
  HEATKV_CHECK(found != s.by_number.end())
      << "request " << number << " does not wait";
  const auto entry = found->second;
  QueuedRequest& request = entry->request;
  const Heads heads = s.FindHeads(now);
  const int next = s.round.Next(heads.price);
  if (next >= 0 && heads.entry[next] == &*entry) {
    s.round.Serve(heads.price);
  } else {
    s.round.Charge(entry->tenant, request.image_byte_seconds);
  }
  --s.images;
  s.bytes -= request.image_bytes;
  if (--request.images == 0) s.Erase(entry);
}

bool FairQueue::Remove(std::uint64_t number) {
  State& s = *state_;
  const auto found = s.by_number.find(number);
  if (found == s.by_number.end()) return false;
  const QueuedRequest& request = found->second->request;
  s.images -= request.images;
  s.bytes -= request.images * request.image_bytes;
  s.Erase(found->second);
  return true;
}

void FairQueue::SetHeld(std::uint64_t number, bool held) {
  State& s = *state_;
  const auto found = s.by_number.find(number);
  if (found == s.by_number.end()) return;
  Entry& entry = *found->second;
  entry.held = held;
  if (held) {
    s.LaneOf(entry).erase(entry.order);
  } else {
    s.LaneOf(entry).emplace(entry.order, &entry);
  }
}

std::vector<const QueuedRequest*> FairQueue::InOrder(absl::Time now) const {
  const State& s = *state_;
  const int tenants = static_cast<int>(s.tenants.size());
  DeficitRoundRobin round = s.round;
  std::vector<int> left(tenants);  // requests of a tenant
  for (int t = 0; t < tenants; ++t) left[t] = s.tenants[t].requests;
  std::vector<const QueuedRequest*> result;
  // Those who are held start after all others, once they are let go.
  for (const bool held : {false, true}) {
    std::vector<std::array<std::vector<const Entry*>, kClasses>> lanes(tenants);
    for (auto e = s.entries.rbegin(); e != s.entries.rend(); ++e) {
      if (e->held != held) continue;
      lanes[e->tenant][Lane(e->request)].push_back(&*e);
    }
    absl::flat_hash_map<std::uint64_t, int> started;  // images of a request
    while (true) {
      const Heads heads =
          FindHeads(tenants, s.options.aging, now,
                    [&lanes](int tenant, int lane) -> const Entry* {
                      const auto& waiting = lanes[tenant][lane];
                      return waiting.empty() ? nullptr : waiting.back();
                    });
      const int next = round.Next(heads.price);
      if (next < 0) break;
      const QueuedRequest& request = heads.entry[next]->request;
      round.Serve(heads.price);
      const int images = ++started[request.number];
      if (images == 1) result.push_back(&request);
      if (images < request.images) continue;
      lanes[next][Lane(request)].pop_back();
      if (--left[next] == 0) round.Leave(next);
    }
  }
  return result;
}

bool FairQueue::empty() const { return state_->entries.empty(); }
int FairQueue::size() const { return static_cast<int>(state_->entries.size()); }
int FairQueue::images() const { return state_->images; }
std::int64_t FairQueue::bytes() const { return state_->bytes; }

absl::Time FairQueue::oldest_arrival() const {
  return empty() ? absl::InfiniteFuture()
                 : state_->entries.front().request.arrived;
}

}  // namespace heatkv::server
