// One request inside the engine, from the moment it was accepted until its
// sink hears the end, and one image of it while it is being made.
//
// Thread safety: what is const may be read by any thread; what is of a device
// belongs to that device's thread; everything else is guarded by the engine's
// lock.  The sink is told through Tell and Finish, by one thread at a time.

#ifndef SERVER_ENGINE_RUNNING_REQUEST_H_
#define SERVER_ENGINE_RUNNING_REQUEST_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "cache/block_lists.h"
#include "cache/trajectory.h"
#include "model/api/image_model.h"
#include "server/engine/observer.h"
#include "server/engine/request.h"

namespace heatkv::server {

struct RunningRequest {
  RunningRequest(std::uint64_t number, GenerationRequest asked,
                 std::shared_ptr<EventSink> sink, model::SamplingKnobs knobs,
                 absl::Time arrived, int devices)
      : number(number),
        asked(std::move(asked)),
        sink(std::move(sink)),
        knobs(std::move(knobs)),
        arrived(arrived),
        on(devices) {}

  int images() const { return static_cast<int>(asked.seeds.size()); }
  const TierPlan& plan(int tier) const {
    return asked.book->plan(asked.ladder, tier);
  }
  // The name of the tier granted, or asked for before it starts.  Does not
  // change once an image has started.
  const std::string& tier_name() const {
    return asked.book->tiers()[usage.tier].name;
  }

  const std::uint64_t number;
  const GenerationRequest asked;
  const std::shared_ptr<EventSink> sink;
  const model::SamplingKnobs knobs;  // of all images, but for the seed
  const absl::Time arrived;

  // May be called with the engine's lock or without it.
  void Tell(EngineEvent event) {
    const std::lock_guard<std::mutex> lock(sink_mutex);
    sink->OnEvent(std::move(event));
  }
  void Finish(const absl::Status& status) {
    const std::lock_guard<std::mutex> lock(sink_mutex);
    sink->OnFinished(status, usage);
  }

  // Why it must end, and since when.
  absl::Status ending;
  EndCause cause = EndCause::kFailure;
  absl::Time over_since;
  // One thread is telling the sink the end; nobody else touches it any more.
  bool is_finished = false;

  int reported_position = -1;
  int images_started = 0;
  int images_done = 0;
  int live_images = 0;  // RunningImages, also while they begin
  bool has_shown_picture = false;
  // Of the tier granted; null before the first image starts, and then the same
  // to the end, so that whoever makes an image may read it without the lock.
  std::shared_ptr<const cache::Trajectory> trajectory;
  double image_byte_seconds = 0;
  RequestUsage usage;

  struct OnDevice {
    bool has_prepared_text = false;
    bool has_ended = false;  // nothing of it is here, and nothing will be
    std::shared_ptr<const model::EncodedText> text;
  };
  std::vector<OnDevice> on;  // by the device's number

  std::mutex sink_mutex;
};

struct RunningImage {
  std::shared_ptr<RunningRequest> request;
  int index = 0;
  std::unique_ptr<model::ImageState> state;
  std::unique_ptr<cache::BlockLists> lists;
  absl::Duration scales_took;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_RUNNING_REQUEST_H_
