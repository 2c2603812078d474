// An observer that passes all it is told on to another one; what listens in on
// the way derives from it and overrides what it wants to hear.
//
// Thread safety: that of the next observer.

#ifndef SERVER_ENGINE_FORWARDING_OBSERVER_H_
#define SERVER_ENGINE_FORWARDING_OBSERVER_H_

#include <string>

#include "server/engine/observer.h"

namespace heatkv::server {

class ForwardingObserver : public ServerObserver {
 public:
  // `next` must outlive it.
  explicit ForwardingObserver(ServerObserver* next) : next_(next) {}

  void OnCall(const CallRecord& call) override { next_->OnCall(call); }
  void OnStage(Stage stage, absl::Duration took) override {
    next_->OnStage(stage, took);
  }
  void OnScale(int scale, absl::Duration took) override {
    next_->OnScale(scale, took);
  }
  void OnImage(const std::string& tier, const absl::Status& status) override {
    next_->OnImage(tier, status);
  }
  void OnStep(int images) override { next_->OnStep(images); }
  void OnFirstPicture(absl::Duration took) override {
    next_->OnFirstPicture(took);
  }
  void OnRelease(EndCause cause, absl::Duration took) override {
    next_->OnRelease(cause, took);
  }
  void OnRefusal(Refusal refusal) override { next_->OnRefusal(refusal); }
  void OnLowerTier() override { next_->OnLowerTier(); }
  void OnCharge(const std::string& tenant, double byte_seconds) override {
    next_->OnCharge(tenant, byte_seconds);
  }
  void OnModelHealth(const absl::Status& status) override {
    next_->OnModelHealth(status);
  }
  void OnDeviceHealth(const std::string& device,
                      const absl::Status& status) override {
    next_->OnDeviceHealth(device, status);
  }

 private:
  ServerObserver* const next_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_FORWARDING_OBSERVER_H_
