// The one place where exceptions of torch become Status: every entry of the
// backend runs its body through WithoutExceptions, so none leaves model/.

#ifndef MODEL_TORCH_EXCEPTIONS_H_
#define MODEL_TORCH_EXCEPTIONS_H_

#include <string_view>
#include <type_traits>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace heatkv::model {

// Runs `body` in torch's inference mode and returns its status.  An exception
// becomes ResourceExhausted if memory ran out, else Internal, and its message
// starts with `what`, the thing that was being done.
absl::Status RunWithoutExceptions(std::string_view what,
                                  absl::FunctionRef<absl::Status()> body);

// The same for a body that returns StatusOr<T>.
template <typename Body>
std::invoke_result_t<Body> WithoutExceptions(std::string_view what, Body body) {
  using Result = std::invoke_result_t<Body>;
  if constexpr (std::is_same_v<Result, absl::Status>) {
    return RunWithoutExceptions(what, body);
  } else {
    Result result = absl::InternalError("no result");
    const absl::Status status = RunWithoutExceptions(what, [&] {
      result = body();
      return result.status();
    });
    if (!status.ok()) return status;
    return result;
  }
}

}  // namespace heatkv::model

#endif  // MODEL_TORCH_EXCEPTIONS_H_
