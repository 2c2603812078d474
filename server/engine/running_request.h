// One request inside the engine, from the moment it was accepted until its
// sink hears the end, and one image of it while it is being made.
//
// Thread safety: what is const may be read by any thread; what says so is
// guarded by the engine's lock; everything else belongs to the engine thread.

#ifndef SERVER_ENGINE_RUNNING_REQUEST_H_
#define SERVER_ENGINE_RUNNING_REQUEST_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

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
                 absl::Time arrived)
      : number(number),
        asked(std::move(asked)),
        sink(std::move(sink)),
        knobs(std::move(knobs)),
        arrived(arrived) {}

  int images() const { return static_cast<int>(asked.seeds.size()); }
  const TierPlan& plan(int tier) const {
    return asked.book->plan(asked.ladder, tier);
  }
  // The name of the tier granted, or asked for before it starts.
  const std::string& tier_name() const {
    return asked.book->tiers()[usage.tier].name;
  }

  const std::uint64_t number;
  const GenerationRequest asked;
  const std::shared_ptr<EventSink> sink;
  const model::SamplingKnobs knobs;  // of all images, but for the seed
  const absl::Time arrived;

  // Guarded by the engine's lock: why it must end, and since when.
  absl::Status ending;
  EndCause cause = EndCause::kFailure;
  absl::Time over_since;

  int reported_position = -1;
  int images_started = 0;
  int images_done = 0;
  bool has_shown_picture = false;
  bool has_prepared_text = false;
  // Of the tier granted; null before the first image starts.
  std::shared_ptr<const cache::Trajectory> trajectory;
  std::shared_ptr<const model::EncodedText> text;
  double image_byte_seconds = 0;
  RequestUsage usage;
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
