#include "calibration/sha256.h"

#include <openssl/evp.h>

#include "absl/strings/escaping.h"
#include "base/check.h"

namespace heatkv::calibration {

std::string Sha256Hex(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  HEATKV_CHECK_EQ(EVP_Digest(bytes.data(), bytes.size(), digest, &length,
                             EVP_sha256(), nullptr),
                  1);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest), length));
}

}  // namespace heatkv::calibration
