// Signs of life for streams that have nothing to say: a thread that asks every
// live call, once an interval, to send one.
//
// Thread safety: Add may be called from any thread.

#ifndef SERVER_RPC_HEARTBEATS_H_
#define SERVER_RPC_HEARTBEATS_H_

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/time/time.h"
#include "server/rpc/generation_call.h"

namespace heatkv::server {

class Heartbeats {
 public:
  explicit Heartbeats(absl::Duration interval);
  ~Heartbeats();

  // Until the call is destroyed; does not keep it alive.
  void Add(std::weak_ptr<GenerationCall> call);

 private:
  void Beat();

  const absl::Duration interval_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable stopped_;
  std::list<std::weak_ptr<GenerationCall>> calls_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_HEARTBEATS_H_
