// The recipe of an image: everything that its bytes depend on.  Stateless.

#ifndef SERVER_RPC_RECIPE_H_
#define SERVER_RPC_RECIPE_H_

#include "heatkv/v1/image_generation.pb.h"
#include "server/rpc/call_services.h"
#include "server/rpc/request_rules.h"

namespace heatkv::server {

// Of image `image` of a request that runs on tier `tier` of its book.
v1::Recipe MakeRecipe(const CallServices& services,
                      const ResolvedRequest& request, int tier, int image);

}  // namespace heatkv::server

#endif  // SERVER_RPC_RECIPE_H_
