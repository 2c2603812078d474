// RETURN_IF_ERROR and ASSIGN_OR_RETURN for absl::Status and absl::StatusOr.
// (Debian 12's Abseil has none.)

#ifndef BASE_STATUS_MACROS_H_
#define BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// RETURN_IF_ERROR(pool.Check());
#define RETURN_IF_ERROR(expression)                                       \
  do {                                                                    \
    if (::absl::Status heatkv_status = (expression); !heatkv_status.ok()) \
      return heatkv_status;                                               \
  } while (false)

// ASSIGN_OR_RETURN(const ScaleLadder ladder, ScaleLadder::Create(...));
#define ASSIGN_OR_RETURN(target, expression)                            \
  HEATKV_ASSIGN_OR_RETURN_(HEATKV_CONCAT_(heatkv_status_or_, __LINE__), \
                           target, expression)

#define HEATKV_ASSIGN_OR_RETURN_(temporary, target, expression) \
  auto temporary = (expression);                                \
  if (!temporary.ok()) return temporary.status();               \
  target = *std::move(temporary)

#define HEATKV_CONCAT_(a, b) HEATKV_CONCAT_INNER_(a, b)
#define HEATKV_CONCAT_INNER_(a, b) a##b

#endif  // BASE_STATUS_MACROS_H_
