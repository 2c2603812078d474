// One request inside the engine, from the moment it was accepted until its
// sink hears the end, and one image of it while it is being made.
//
// Thread safety: `cancelled` may be set by any thread; what is const may be
// read by any; everything else belongs to the engine thread.

#ifndef SERVER_ENGINE_RUNNING_REQUEST_H_
#define SERVER_ENGINE_RUNNING_REQUEST_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/time/time.h"
#include "cache/block_lists.h"
#include "cache/trajectory.h"
#include "model/api/image_model.h"
#include "server/engine/request.h"

namespace heatkv::server {

struct RunningRequest {
  RunningRequest(std::uint64_t number, GenerationRequest asked,
                 std::shared_ptr<EventSink> sink, model::SamplingKnobs knobs,
                 std::shared_ptr<const cache::Trajectory> trajectory,
                 absl::Time arrived)
      : number(number),
        asked(std::move(asked)),
        sink(std::move(sink)),
        knobs(std::move(knobs)),
        trajectory(std::move(trajectory)),
        arrived(arrived) {}

  int images() const { return static_cast<int>(asked.seeds.size()); }
  // Of all images at their peaks.
  std::int64_t peak_bytes() const {
    return images() * trajectory->peak_bytes();
  }

  const std::uint64_t number;
  const GenerationRequest asked;
  const std::shared_ptr<EventSink> sink;
  const model::SamplingKnobs knobs;  // of all images, but for the seed
  const std::shared_ptr<const cache::Trajectory> trajectory;
  const absl::Time arrived;

  std::atomic<bool> cancelled{false};

  int reported_position = -1;
  int images_started = 0;
  int images_done = 0;
  std::shared_ptr<const model::EncodedText> text;
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
