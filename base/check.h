// CHECK macros for broken invariants: our own bugs, never the user's input.
//
// A failed check prints the file, line, condition and streamed message to
// standard error and aborts, because state that contradicts itself must not
// serve another request.  What may happen in operation is an absl::Status.
// (Debian 12's Abseil is too old to have absl/log/check.h.)

#ifndef BASE_CHECK_H_
#define BASE_CHECK_H_

#include <sstream>

#include "absl/status/status.h"

namespace heatkv {

// Collects the message of one failed check and aborts when destroyed.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  CheckFailure(const CheckFailure&) = delete;
  CheckFailure& operator=(const CheckFailure&) = delete;

  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

}  // namespace heatkv

// The loop form keeps `if (x) CHECK(y); else ...` well-formed and lets a
// message be streamed: CHECK(a == b) << "layer " << layer;
#define HEATKV_CHECK(condition)             \
  while (__builtin_expect(!(condition), 0)) \
  ::heatkv::CheckFailure(__FILE__, __LINE__, #condition).stream()

#define HEATKV_CHECK_OP(left, op, right)                               \
  while (__builtin_expect(!((left)op(right)), 0))                      \
  ::heatkv::CheckFailure(__FILE__, __LINE__, #left " " #op " " #right) \
          .stream()                                                    \
      << "(" << (left) << " vs. " << (right) << ") "

#define HEATKV_CHECK_EQ(left, right) HEATKV_CHECK_OP(left, ==, right)
#define HEATKV_CHECK_NE(left, right) HEATKV_CHECK_OP(left, !=, right)
#define HEATKV_CHECK_LT(left, right) HEATKV_CHECK_OP(left, <, right)
#define HEATKV_CHECK_LE(left, right) HEATKV_CHECK_OP(left, <=, right)
#define HEATKV_CHECK_GT(left, right) HEATKV_CHECK_OP(left, >, right)
#define HEATKV_CHECK_GE(left, right) HEATKV_CHECK_OP(left, >=, right)

// For a Status whose failure would be a bug of ours.
#define HEATKV_CHECK_OK(expression)                                  \
  if (const ::absl::Status heatkv_check_status = (expression);       \
      heatkv_check_status.ok()) {                                    \
  } else /* NOLINT */                                                \
    ::heatkv::CheckFailure(__FILE__, __LINE__, #expression).stream() \
        << heatkv_check_status.ToString() << " "

#endif  // BASE_CHECK_H_
