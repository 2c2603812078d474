#include "server/rpc/event_conversion.h"

#include <algorithm>

namespace heatkv::server {

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  const std::int64_t seconds =
      absl::IDivDuration(duration, absl::Seconds(1), &duration);
  proto.set_seconds(seconds);
  proto.set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(duration)));
  return proto;
}

google::protobuf::Timestamp ToProto(absl::Time time) {
  // 0001-01-01 and the last second of 9999.
  const std::int64_t seconds =
      std::clamp(absl::ToUnixSeconds(time), std::int64_t{-62135596800},
                 std::int64_t{253402300799});
  google::protobuf::Timestamp proto;
  proto.set_seconds(seconds);
  const absl::Duration rest = time - absl::FromUnixSeconds(seconds);
  if (rest >= absl::ZeroDuration() && rest < absl::Seconds(1)) {
    proto.set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(rest)));
  }
  return proto;
}

v1::Accepted ToProto(const AcceptedEvent& event, const ResolvedRequest& asked) {
  const GenerationRequest& generation = asked.generation;
  v1::Accepted proto;
  proto.set_request_id(asked.request_id);
  proto.set_tier(asked.tier);
  proto.set_schedule_sha256(
      generation.book->plan(generation.ladder, generation.tier)
          .schedule_sha256);
  proto.set_peak_bytes(event.peak_bytes);
  proto.set_full_cache_bytes(event.full_cache_bytes);
  for (const std::uint64_t seed : generation.seeds) proto.add_seeds(seed);
  proto.set_queue_position(event.queue_position);
  proto.set_scales(event.scales);
  if (event.expected_wait.has_value()) {
    *proto.mutable_expected_wait() = ToProto(*event.expected_wait);
  }
  if (event.expected_run.has_value()) {
    *proto.mutable_expected_run() = ToProto(*event.expected_run);
  }
  return proto;
}

v1::Queued ToProto(const QueuedEvent& event) {
  v1::Queued proto;
  proto.set_position(event.position);
  return proto;
}

v1::Started ToProto(const StartedEvent& event, const ResolvedRequest& asked) {
  const ScheduleBook& book = *asked.generation.book;
  v1::Started proto;
  *proto.mutable_queued_for() = ToProto(event.queued_for);
  proto.set_tier(book.tiers()[event.tier].name);
  proto.set_schedule_sha256(
      book.plan(asked.generation.ladder, event.tier).schedule_sha256);
  proto.set_peak_bytes(event.peak_bytes);
  return proto;
}

v1::ScaleDone ToProto(const ScaleDoneEvent& event, int scales) {
  v1::ScaleDone proto;
  proto.set_image_index(event.image);
  proto.set_scale(event.scale + 1);
  proto.set_scales(scales);
  proto.set_grid_height(event.grid.height);
  proto.set_grid_width(event.grid.width);
  proto.set_held_bytes(event.held_bytes);
  proto.set_planned_bytes(event.planned_bytes);
  *proto.mutable_took() = ToProto(event.took);
  return proto;
}

v1::Usage ToProto(const RequestUsage& usage) {
  v1::Usage proto;
  *proto.mutable_queue() = ToProto(usage.queue);
  *proto.mutable_text() = ToProto(usage.text);
  *proto.mutable_scales() = ToProto(usage.scales);
  *proto.mutable_decode() = ToProto(usage.decode);
  *proto.mutable_total() = ToProto(usage.total);
  proto.set_peak_cache_bytes(usage.peak_cache_bytes);
  proto.set_full_cache_bytes(usage.full_cache_bytes);
  proto.set_text_was_cached(usage.text_was_cached);
  return proto;
}

v1::EstimateImageResponse ToProto(const RequestEstimate& estimate,
                                  const ResolvedRequest& asked) {
  const GenerationRequest& generation = asked.generation;
  const cache::Trajectory& trajectory = *estimate.trajectory;
  const cache::ScaleLadder& ladder = trajectory.schedule()->ladder();
  v1::EstimateImageResponse proto;
  proto.set_tier(asked.tier);
  proto.set_schedule_sha256(
      generation.book->plan(generation.ladder, generation.tier)
          .schedule_sha256);
  proto.set_peak_bytes(trajectory.peak_bytes());
  proto.set_full_cache_bytes(trajectory.full_cache_bytes());
  for (int s = 0; s < ladder.num_scales(); ++s) {
    v1::ScaleEstimate& scale = *proto.add_scales();
    scale.set_scale(s + 1);
    scale.set_grid_height(ladder.grid(s).height);
    scale.set_grid_width(ladder.grid(s).width);
    scale.set_peak_bytes(trajectory.bytes(trajectory.blocks_peak(s)));
    scale.set_held_bytes(trajectory.bytes(trajectory.blocks_after(s)));
    if (s < estimate.scale_times.size() && estimate.scale_times[s]) {
      *scale.mutable_expected_time() = ToProto(*estimate.scale_times[s]);
    }
  }
  proto.set_admissible_now(estimate.admissible_now);
  proto.set_reason(estimate.reason);
  proto.set_requests_ahead(estimate.requests_ahead);
  if (estimate.expected_wait.has_value()) {
    *proto.mutable_expected_wait() = ToProto(*estimate.expected_wait);
  }
  if (estimate.expected_run.has_value()) {
    *proto.mutable_expected_run() = ToProto(*estimate.expected_run);
  }
  proto.set_byte_seconds(estimate.byte_seconds);
  return proto;
}

}  // namespace heatkv::server
