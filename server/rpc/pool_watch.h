// Who holds what of the pool, as a message, and the stream of such views.
//
// A watch takes a view, writes it, and only once gRPC has it waits and takes
// the next one: a slow reader gets fewer views, never a queue of old ones.

#ifndef SERVER_RPC_POOL_WATCH_H_
#define SERVER_RPC_POOL_WATCH_H_

#include <memory>
#include <mutex>

#include "absl/time/time.h"
#include "grpcpp/alarm.h"
#include "grpcpp/support/server_callback.h"
#include "heatkv/v1/admin.pb.h"
#include "server/engine/engine.h"
#include "server/engine/pool_snapshot.h"
#include "server/rpc/worker_pool.h"

namespace heatkv::server {

v1::PoolView ToProto(const PoolSnapshot& snapshot);

// Deletes itself when gRPC is done with it.  At any time exactly one thing is
// under way (a view, a write, a wait), which goes on or, once the call is over,
// ends it.
class PoolWatch final : public grpc::ServerWriteReactor<v1::PoolView> {
 public:
  // Both must outlive the watch; views are made into messages by `workers`.
  PoolWatch(Engine* engine, WorkerPool* workers, bool per_head,
            absl::Duration interval);

  // Takes the first view.  Once.
  void Start() { TakeView(); }

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  void TakeView();
  void Show(const PoolSnapshot& snapshot);
  void Wait();
  bool is_over() const;
  void End() { Finish(grpc::Status(grpc::StatusCode::CANCELLED, "cancelled")); }

  Engine* const engine_;
  WorkerPool* const workers_;
  const bool per_head_;
  const absl::Duration interval_;
  v1::PoolView view_;  // being written

  mutable std::mutex mutex_;  // guards what follows
  bool is_over_ = false;
  std::unique_ptr<grpc::Alarm> alarm_;  // of the last wait
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_POOL_WATCH_H_
