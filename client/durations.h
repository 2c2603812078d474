// Durations as people type them: "200ms", "5s", "1.5m", or a plain number of
// seconds.

#ifndef CLIENT_DURATIONS_H_
#define CLIENT_DURATIONS_H_

#include <string>

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"

namespace heatkv::client {

// False, leaving `*duration` alone, for anything else and for negative ones.
bool ReadDuration(const std::string& text, absl::Duration* duration);

double Seconds(const google::protobuf::Duration& duration);

}  // namespace heatkv::client

#endif  // CLIENT_DURATIONS_H_
