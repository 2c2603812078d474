// The command `heatkv estimate`: what a request would cost, without making it.

#ifndef CLIENT_ESTIMATE_COMMAND_H_
#define CLIENT_ESTIMATE_COMMAND_H_

#include <string>

#include "CLI/App.hpp"
#include "heatkv/v1/image_generation.pb.h"

namespace heatkv::client {

// Adds the subcommand "estimate" to `app`.  When `app` is parsed with it, the
// estimate is printed and `*exit_code` is set (client/connection.h).  `server`
// is the address, set by the time of parsing; both must outlive the parse.
void AddEstimateCommand(CLI::App& app, const std::string* server,
                        int* exit_code);

// A table of the scales with their bytes, and below it what they come to.
std::string EstimateText(const v1::EstimateImageResponse& estimate);

}  // namespace heatkv::client

#endif  // CLIENT_ESTIMATE_COMMAND_H_
