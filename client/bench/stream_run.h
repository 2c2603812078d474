// One request of a load as a stream, run to its end by gRPC's own threads, with
// the misbehaviour that its plan asks for.  Thousands may run at once: a stream
// costs no thread and forgets every picture once it is hashed.

#ifndef CLIENT_BENCH_STREAM_RUN_H_
#define CLIENT_BENCH_STREAM_RUN_H_

#include <chrono>
#include <functional>
#include <memory>

#include "absl/time/time.h"
#include "client/bench/droppable_channel.h"
#include "client/bench/faults.h"
#include "client/bench/mix.h"
#include "client/bench/record.h"
#include "client/connection.h"

namespace heatkv::client {

using Instant = std::chrono::steady_clock::time_point;

struct StreamStart {
  int index = 0;
  MixRequest request;
  FaultPlan plan;
  SlowPauses pauses;
  absl::Duration timeout = absl::InfiniteDuration();
  Instant begin;  // of the load
  Instant due;    // of this request
  // Set for one who vanishes; then also what the connection goes over.  The
  // caller must hold it until `done` is called: gRPC's threads cannot close it.
  std::shared_ptr<DroppableChannel> droppable;
};

// Sends the request and returns at once.  `done` is called once, on a thread of
// gRPC's, when the call is over.
void StartStream(const Connection& connection, StreamStart start,
                 std::function<void(RequestRecord)> done);

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_STREAM_RUN_H_
