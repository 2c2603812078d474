// Whether the model can compute at all.  What failed may have failed for what
// was asked (numbers that are none, too little memory); so after a failure the
// watch has the model do something small, and only if that fails as well is the
// model unwell.  It is then tried again every second, until it is well.
//
// Thread safety: none; it belongs to the thread that owns the model.

#ifndef SERVER_ENGINE_MODEL_WATCH_H_
#define SERVER_ENGINE_MODEL_WATCH_H_

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/api/image_model.h"

namespace heatkv::server {

class ModelWatch {
 public:
  static constexpr absl::Duration kRetryEvery = absl::Seconds(1);

  // `model` must outlive the watch.  `on_change` is told OK when the model is
  // well again, and why when it is not any more.
  ModelWatch(model::ImageModel* model,
             std::function<void(const absl::Status&)> on_change)
      : model_(model), on_change_(std::move(on_change)) {}

  // A call of the model failed for everybody that it was for.
  void OnFailure(absl::Time now) { Try(now); }

  // A call of the model succeeded.
  void OnSuccess() { Become(absl::OkStatus()); }

  // Tries an unwell model again if it is time.
  void Poll(absl::Time now) {
    if (!is_well() && now >= next_try_) Try(now);
  }

  bool is_well() const { return status_.ok(); }

 private:
  void Try(absl::Time now);
  void Become(absl::Status status);

  model::ImageModel* const model_;
  const std::function<void(const absl::Status&)> on_change_;
  absl::Status status_;
  absl::Time next_try_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_MODEL_WATCH_H_
