// SHA-256 of bytes, in lower-case hexadecimal: how profiles, schedules and
// prompt lists are named.

#ifndef CALIBRATION_SHA256_H_
#define CALIBRATION_SHA256_H_

#include <string>
#include <string_view>

namespace heatkv::calibration {

// 64 hexadecimal digits.
std::string Sha256Hex(std::string_view bytes);

}  // namespace heatkv::calibration

#endif  // CALIBRATION_SHA256_H_
