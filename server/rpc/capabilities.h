// What a server can do, as the answer to GetCapabilities.  Stateless.

#ifndef SERVER_RPC_CAPABILITIES_H_
#define SERVER_RPC_CAPABILITIES_H_

#include "heatkv/v1/image_generation.pb.h"
#include "server/rpc/call_services.h"

namespace heatkv::server {

v1::GetCapabilitiesResponse DescribeCapabilities(const CallServices& services);

}  // namespace heatkv::server

#endif  // SERVER_RPC_CAPABILITIES_H_
