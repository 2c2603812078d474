// Bytes for people: "1.2 MiB".
//
// Thread safety: stateless.

#ifndef BASE_READABLE_BYTES_H_
#define BASE_READABLE_BYTES_H_

#include <cstdint>
#include <string>

namespace heatkv {

// With one decimal in the largest binary unit up to TiB of which there is at
// least one; whole bytes below 1 KiB.
std::string ReadableBytes(std::uint64_t bytes);

}  // namespace heatkv

#endif  // BASE_READABLE_BYTES_H_
