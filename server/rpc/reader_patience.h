// How one stream looks to somebody with a clock: is a sign of life due, does
// the reader stall, has he been given up?
//
// A write that is not done for the stall timeout means that the reader takes
// nothing.  The stream is then to end; the reader has the same time once more
// to take what is on its way and hear why.  After that the connection is cut.
//
// Logic only.  Not thread-safe: guarded by its stream's lock.

#ifndef SERVER_RPC_READER_PATIENCE_H_
#define SERVER_RPC_READER_PATIENCE_H_

#include "absl/time/time.h"

namespace heatkv::server {

enum class ReaderState {
  kFine,
  kSilence,  // nothing was written for the heartbeat
  kStalls,   // one write is not done for the stall timeout
  kLost,     // nor for twice as long
};

class ReaderPatience {
 public:
  // Both above 0.
  ReaderPatience(absl::Duration heartbeat, absl::Duration stall_timeout,
                 absl::Time now)
      : heartbeat_(heartbeat), stall_timeout_(stall_timeout), since_(now) {}

  // Writes take turns: one begins, it ends, the next one begins.
  void WriteBegins(absl::Time now);
  void WriteEnds(absl::Time now);

  ReaderState Judge(absl::Time now) const;

  absl::Duration stall_timeout() const { return stall_timeout_; }

 private:
  absl::Duration heartbeat_;
  absl::Duration stall_timeout_;
  absl::Time since_;  // of the last change
  bool writes_ = false;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_READER_PATIENCE_H_
