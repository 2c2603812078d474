// One device of an engine: a model, the pool that its arena backs, the prompts
// encoded there, the images in flight there, and the thread's work on them.
//
// The scheduler, which all devices share, says which images start here and
// which do their next scale together; the device obeys: it encodes texts, plans
// the blocks of the group, has the model compute the step, decodes pictures and
// tells sinks.  Before every step and every decoding it looks whether requests
// were cancelled, are past their deadlines, or the server's drain is over;
// their blocks here are back in the pool before the next step.  The last device
// that has given back what it held of a request ends it.
//
// Thread safety: one thread at a time does a device's work (Run, RunOnce and
// all that is private); what devices share is guarded by the lock of their
// EngineState.

#ifndef SERVER_ENGINE_ENGINE_DEVICE_H_
#define SERVER_ENGINE_ENGINE_DEVICE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cache/block_pool.h"
#include "model/api/image_model.h"
#include "server/engine/clock.h"
#include "server/engine/engine_options.h"
#include "server/engine/engine_state.h"
#include "server/engine/model_watch.h"
#include "server/engine/observer.h"
#include "server/engine/prompt_cache.h"
#include "server/engine/running_request.h"
#include "server/engine/scheduler.h"

namespace heatkv::server {

class EngineDevice {
 public:
  // The arena of `model` must exist.  `state`, `clock` and `observer` must
  // outlive the device.
  EngineDevice(int number, std::string name, const EngineOptions& options,
               std::unique_ptr<model::ImageModel> model, EngineState* state,
               const Clock* clock, ServerObserver* observer);

  EngineDevice(const EngineDevice&) = delete;
  EngineDevice& operator=(const EngineDevice&) = delete;

  const std::string& name() const { return name_; }
  // For what any thread may call.
  const model::ImageModel& model() const { return *model_; }

  // Has the model warm up, then works until the engine stops.
  void Run();

  // One turn: ends what is over, admits, computes one scale of a group.  False
  // if there was nothing to do.
  bool RunOnce();

  // What is left to do once the thread has ended: ends requests that are over
  // and answers views.
  void WindUp();

  bool holds_images() const { return !images_.empty(); }

 private:
  using RequestPtr = std::shared_ptr<RunningRequest>;

  // The loop (engine_device.cc).
  void Loop();
  void AnswerViews();
  ImageSnapshot Describe(const RunningImage& image, bool per_head) const;
  // With the lock held: whether `request` must end now; if so `ending` and
  // `cause` say why.
  bool IsOver(RunningRequest* request, absl::Time now);
  void EndWhatIsOver();
  // Requests whose readers are slow or whose texts are still being encoded.
  void HoldRequests();
  bool TextIsReady(RunningRequest* request);
  void ReportPositions();
  // By value: the caller may have found the request in what they take apart.
  void FailRequest(RequestPtr request, absl::Status status);
  // Gives back what it holds here, and ends it if nobody else holds more.
  void End(RequestPtr request);
  // Takes the image out of flight and gives its blocks back.  Whether it was
  // here.
  bool Release(const ImageRef& ref);
  void CountHeads(const cache::BlockLists& lists, int sign);
  void Publish();
  void PublishLocked();
  void OnModelHealth(const absl::Status& status);

  // Turns (device_turn.cc).
  //
  // Starts the image if this is its first turn; false if that failed, and its
  // request has ended here.
  bool EnsureStarted(const ImageRef& ref);
  absl::Status StartImage(const ImageRef& ref, const RequestPtr& request);
  // Tells of the request's start if this is its first image.
  void BeginRequest(RunningRequest* request);
  absl::Status EnsureText(RunningRequest* request);
  void Execute(const Turn& turn);
  void ReportScale(const RunningImage& image, const cache::StepPlan& plan,
                   absl::Duration took);
  // After a scale of `ref`: preview, or the image itself.
  void AfterScale(const ImageRef& ref, int scale);
  void HandOver(const ImageRef& ref, model::RgbImage picture, int scale,
                absl::Duration decode_took);

  const int number_;
  const std::string name_;
  EngineState& state_;
  const Clock* const clock_;
  ServerObserver* const observer_;
  const cache::CacheGeometry geometry_;

  // The pool is declared before what holds its blocks.
  std::unique_ptr<model::ImageModel> model_;
  ModelWatch watch_;
  cache::BlockPool pool_;
  PromptCache prompts_;
  std::map<ImageRef, RunningImage> images_;  // in flight
  std::vector<std::int64_t> head_blocks_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_ENGINE_DEVICE_H_
