// The pool in words: who holds what, for a terminal.
//
// Thread safety: stateless.

#ifndef CLIENT_POOL_TEXT_H_
#define CLIENT_POOL_TEXT_H_

#include <string>

#include "heatkv/v1/admin.pb.h"

namespace heatkv::client {

// Totals, a bar for each layer (the longest is the layer that holds most) and a
// line for each image.  With `per_head`, a layer's line also has one character
// for each head, from " " (nothing) to "@" (as much as the head that holds
// most), and so have the layers of each image that reports its heads.
std::string PoolText(const v1::PoolView& pool, bool per_head);

// A line for each request, as the server sent them.
std::string RequestsText(const v1::ListRequestsResponse& response);

}  // namespace heatkv::client

#endif  // CLIENT_POOL_TEXT_H_
