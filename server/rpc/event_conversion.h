// Engine values as messages.  Stateless.

#ifndef SERVER_RPC_EVENT_CONVERSION_H_
#define SERVER_RPC_EVENT_CONVERSION_H_

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "heatkv/v1/image_generation.pb.h"
#include "server/engine/estimate.h"
#include "server/engine/request.h"
#include "server/rpc/request_rules.h"

namespace heatkv::server {

google::protobuf::Duration ToProto(absl::Duration duration);

// Cut off at the ends of the year range that the message has.
google::protobuf::Timestamp ToProto(absl::Time time);

v1::Accepted ToProto(const AcceptedEvent& event, const ResolvedRequest& asked);
v1::Queued ToProto(const QueuedEvent& event);
v1::Started ToProto(const StartedEvent& event, const ResolvedRequest& asked);
v1::ScaleDone ToProto(const ScaleDoneEvent& event, int scales);
// But for the time of encoding, which the engine does not know.
v1::Usage ToProto(const RequestUsage& usage);
v1::EstimateImageResponse ToProto(const RequestEstimate& estimate,
                                  const ResolvedRequest& asked);

}  // namespace heatkv::server

#endif  // SERVER_RPC_EVENT_CONVERSION_H_
