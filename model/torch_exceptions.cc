#include "model/torch_exceptions.h"

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace heatkv::model {
namespace {

std::string Message(std::string_view what, const char* cause) {
  return absl::StrCat(absl::string_view(what.data(), what.size()), ": ", cause);
}

}  // namespace

absl::Status RunWithoutExceptions(std::string_view what,
                                  absl::FunctionRef<absl::Status()> body) {
  try {
    const c10::InferenceMode inference_mode;
    return body();
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(
        Message(what, error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    const char* cause = error.what_without_backtrace();
    // The CPU's allocator has no exception of its own.
    if (absl::StrContains(cause, "can't allocate memory")) {
      return absl::ResourceExhaustedError(Message(what, cause));
    }
    return absl::InternalError(Message(what, cause));
  } catch (const std::bad_alloc& error) {
    return absl::ResourceExhaustedError(Message(what, error.what()));
  } catch (const std::exception& error) {
    return absl::InternalError(Message(what, error.what()));
  }
}

}  // namespace heatkv::model
