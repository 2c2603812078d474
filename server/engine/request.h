// What a caller asks of the engine, and what it is told on the way.  Plain
// values: no protocol, no YAML, no torch.

#ifndef SERVER_ENGINE_REQUEST_H_
#define SERVER_ENGINE_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cache/ladder.h"
#include "model/api/image_model.h"
#include "server/engine/fair_queue.h"
#include "server/engine/schedule_book.h"

namespace heatkv::server {

// Checked by whoever made it: every field is legal for the served model.
struct GenerationRequest {
  // The client's name for the request, for people who look at the server.
  std::string request_id;
  std::string prompt;
  int ladder = 0;  // index into ModelSpec::ladders
  // What the tiers mean to this request from its beginning to its end, also if
  // the server gets other ones meanwhile.  Set; of the engine's geometry.
  std::shared_ptr<const ScheduleBook> book;
  int tier = 0;  // index into book->tiers()
  // The lowest tier that it may run on when memory is tight; of no larger
  // budget.  The same as `tier`: exactly that.
  int least_tier = 0;
  Priority priority = Priority::kNormal;
  std::string tenant;
  double guidance = 1.0;
  double tau = 1.0;
  double top_p = 0.97;
  // One for each image.  An image depends on its own seed alone, not on its
  // place in the request.
  std::vector<std::uint64_t> seeds;
  // preview_after[s]: decode a preview once scale s is done.  Empty: none.
  std::vector<bool> preview_after;
  // On the engine's clock.
  absl::Time deadline = absl::InfiniteFuture();
};

// What a request took; sums over its images.
struct RequestUsage {
  absl::Duration queue;
  absl::Duration text;
  absl::Duration scales;
  absl::Duration decode;
  absl::Duration total;
  std::int64_t peak_cache_bytes = 0;  // the most one image held
  std::int64_t full_cache_bytes = 0;  // of one image, unpruned
  bool text_was_cached = false;
  int images = 0;           // finished
  int tier = 0;             // granted; the one asked for if it never started
  double byte_seconds = 0;  // what the tenant was charged
};

// The request has its place.  Reported before Engine::Submit returns.
struct AcceptedEvent {
  std::int64_t peak_bytes = 0;  // of one image on the tier asked for
  std::int64_t full_cache_bytes = 0;
  int queue_position = 0;  // requests ahead of it that wait
  int scales = 0;          // of each image
  // Until its first image starts, and from then to its last image; nothing
  // before anything like it was measured.
  std::optional<absl::Duration> expected_wait;
  std::optional<absl::Duration> expected_run;
};

// It waits; reported when its position changes.
struct QueuedEvent {
  int position = 0;
};

// Its first image starts.
struct StartedEvent {
  absl::Duration queued_for;
  int tier = 0;                 // granted
  std::int64_t peak_bytes = 0;  // of one image on it
};

struct ScaleDoneEvent {
  int image = 0;
  int scale = 0;  // the one just done, 0-based
  cache::Grid grid;
  std::int64_t held_bytes = 0;
  std::int64_t planned_bytes = 0;
  absl::Duration took;
};

struct PreviewEvent {
  int image = 0;
  int scale = 0;  // the last one done, 0-based
  model::RgbImage picture;
};

struct ImageEvent {
  int image = 0;
  model::RgbImage picture;
};

using EngineEvent = std::variant<AcceptedEvent, QueuedEvent, StartedEvent,
                                 ScaleDoneEvent, PreviewEvent, ImageEvent>;

// Who is told.  Must not block and must not call the engine back: OnEvent runs
// on the engine thread (the accepted event on the submitter's).  The engine
// shares a sink with whoever submitted it, so that either may end first.
class EventSink {
 public:
  virtual ~EventSink() = default;

  virtual void OnEvent(EngineEvent event) = 0;

  // Whether what it was told has been passed on as far as it should be before
  // more comes.  While it is not, no further image of the request starts; those
  // in flight go on.  Any thread.
  virtual bool WantsMore() const { return true; }

  // The last call, exactly once for every request that Submit took: OK when
  // all images were reported, else why not.
  virtual void OnFinished(const absl::Status& status,
                          const RequestUsage& usage) = 0;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_REQUEST_H_
