// The scheduler from the inside, for scheduler.cc and scheduler_turn.cc alone:
// the requests it knows, its devices, and the making of a turn.
//
// Not thread-safe, like the scheduler.

#ifndef SERVER_ENGINE_SCHEDULER_STATE_H_
#define SERVER_ENGINE_SCHEDULER_STATE_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/device_flight.h"
#include "server/engine/fair_queue.h"
#include "server/engine/scheduler.h"
#include "server/engine/turn_order.h"

namespace heatkv::server {

struct Scheduler::State {
  struct Request {
    ScheduledRequest asked;
    int choice = -1;  // none before its first image starts
    int started = 0;
    int running = 0;
    bool is_removed = false;    // from the queue, before its last image started
    std::vector<bool> is_held;  // by device
  };

  struct Device {
    DeviceFlight flight;
    bool is_well = true;
    // Has asked for a turn and got none: what is in flight by now has not begun
    // its first step.
    bool is_idle = true;
  };

  // The turn of a device while it is made up.
  struct Draft {
    int device = 0;
    std::int64_t limit = 0;
    std::vector<int> group;
    std::optional<StepKind> kind;  // of the group
    int starts = 0;
    int most_starts = 0;
  };

  State(SchedulerOptions options, StepCapacity capacity, int devices)
      : options(std::move(options)),
        capacity(std::move(capacity)),
        order(&this->options, &this->capacity),
        queue(this->options.queue),
        devices(devices) {}

  std::int64_t limit() const { return options.limit_blocks; }

  std::int64_t FreeBlocks(const Device& device) const {
    return limit() - device.flight.peak_sum();
  }

  bool TakesImages(const Device& device) const {
    return device.is_well ||
           std::none_of(devices.begin(), devices.end(),
                        [](const Device& d) { return d.is_well; });
  }

  int DevicesThatTakeImages() const {
    return static_cast<int>(
        std::count_if(devices.begin(), devices.end(),
                      [this](const Device& d) { return TakesImages(d); }));
  }

  bool HasRoomForOneMore(const DeviceFlight& flight) const {
    return !flight.is_lowered() && flight.size() < options.max_running_images;
  }

  // The queue passes over who can start nowhere.
  void UpdateQueue(std::uint64_t number, const Request& request) {
    bool is_held = true;
    for (std::size_t d = 0; d < devices.size(); ++d) {
      is_held = is_held && (request.is_held[d] || !TakesImages(devices[d]));
    }
    queue.SetHeld(number, is_held);
  }

  // The tier on which an image of `request` starts: the one that was granted,
  // or else the first of its choices with which every peak fits, or the last.
  int Choose(const Request& request, const DeviceFlight& flight) const {
    if (request.choice >= 0) return request.choice;
    const auto& choices = request.asked.choices;
    for (std::size_t i = 0; i + 1 < choices.size(); ++i) {
      if (flight.peak_sum() + choices[i].trajectory->peak_blocks() <= limit()) {
        return static_cast<int>(i);
      }
    }
    return static_cast<int>(choices.size()) - 1;
  }

  static StepKind FirstStepOf(const ScheduledRequest& asked) {
    return {asked.ladder, 0, asked.choices.front().trajectory->branches()};
  }

  int ClassOf(const ScheduledRequest& asked, absl::Time now) const {
    return order.ClassOf(asked.priority, asked.arrived, now);
  }

  // Starts the next image of `request` in the group beside `group`, if it may
  // be there, and adds it.
  bool Start(Request* request, absl::Time now, std::int64_t limit,
             DeviceFlight* flight, std::vector<int>* group);
  // Starts the next image of `request` on an idle device, where nothing but
  // images that start with one step is in flight.
  bool StartOnIdle(Request* request, absl::Time now, int most_starts,
                   Device* device);

  enum class Place { kHere, kStartedElsewhere, kIsElsewheres };

  // Where the image that is next belongs, from the point of view of the device
  // that asks and would take it: there, or on one with more free blocks.
  Place FindPlace(Request* request, absl::Time now, const Draft& draft);
  // Starts the image that is next in the queue, if it may be in the group of
  // `draft`, and adds it there.  With an empty group, any kind is right that
  // goes before all that is in flight.
  bool StartNext(absl::Time now, Draft* draft);
  // Adds everybody who may do the same step: images in flight in the order of
  // their ranks, then, at scale 0, images that start.
  void Fill(absl::Time now, Draft* draft);
  // The image in flight that goes first, alone for now.
  void Continue(absl::Time now, Draft* draft);
  // How many images a turn may start; with one device, all that wait.
  int MostStarts() const;

  // The device that the image is in flight on, and its index there; -1: none.
  std::pair<Device*, int> Find(const ImageRef& ref) {
    for (Device& device : devices) {
      const int index = device.flight.Find(ref);
      if (index >= 0) return {&device, index};
    }
    return {nullptr, -1};
  }

  void ForgetIfDone(std::uint64_t number) {
    const auto found = requests.find(number);
    if (found == requests.end()) return;
    const Request& request = found->second;
    if (request.running == 0 &&
        (request.is_removed || request.started == request.asked.images)) {
      requests.erase(found);
    }
  }

  SchedulerOptions options;
  StepCapacity capacity;
  TurnOrder order;
  FairQueue queue;
  // Elements stay where they are: images point at them.
  std::unordered_map<std::uint64_t, Request> requests;
  std::vector<Device> devices;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_SCHEDULER_STATE_H_
