// "Try again in ...": a duration that travels inside an absl::Status as a
// payload, from the engine that refuses to the protocol that tells the caller.
//
// Thread safety: stateless.

#ifndef SERVER_ENGINE_RETRY_HINT_H_
#define SERVER_ENGINE_RETRY_HINT_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace heatkv::server {

// `status` with the hint attached.  REQUIRES: !status.ok().
absl::Status WithRetryHint(absl::Status status, absl::Duration after);

// The hint of `status`, if it carries one.
std::optional<absl::Duration> RetryHint(const absl::Status& status);

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_RETRY_HINT_H_
