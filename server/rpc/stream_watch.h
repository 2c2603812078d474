// Somebody who looks at every live stream from time to time: at silent ones, so
// that they send a sign of life, and at stalled ones, so that they end.  What
// there is to do the streams know themselves.
//
// Thread safety: Add may be called from any thread.

#ifndef SERVER_RPC_STREAM_WATCH_H_
#define SERVER_RPC_STREAM_WATCH_H_

#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/time/time.h"

namespace heatkv::server {

// A stream that wants to be looked at.
class WatchedStream {
 public:
  virtual ~WatchedStream() = default;
  // Any thread; soon again.
  virtual void LookAfter() = 0;
};

class StreamWatch {
 public:
  // Looks once a `period`, and calls `also` each time; from a thread of its
  // own.
  StreamWatch(absl::Duration period, std::function<void()> also);
  ~StreamWatch();

  StreamWatch(const StreamWatch&) = delete;
  StreamWatch& operator=(const StreamWatch&) = delete;

  // Until the stream is destroyed; does not keep it alive.
  void Add(std::weak_ptr<WatchedStream> stream);

  // A round without waiting for it.
  void LookNow();

 private:
  void Watch();

  const absl::Duration period_;
  const std::function<void()> also_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable stopped_;
  std::list<std::weak_ptr<WatchedStream>> streams_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_STREAM_WATCH_H_
