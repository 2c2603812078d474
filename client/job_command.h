// The commands `heatkv job submit|watch|get|cancel`: pictures whose making
// outlives the connection.

#ifndef CLIENT_JOB_COMMAND_H_
#define CLIENT_JOB_COMMAND_H_

#include <string>

#include "CLI/App.hpp"
#include "heatkv/v1/image_generation.pb.h"

namespace heatkv::client {

// Adds the subcommand "job" to `app`.  When `app` is parsed with it, the call
// is made and `*exit_code` is set (client/connection.h).  `server` is the
// address, set by the time of parsing; both must outlive the parse.
void AddJobCommand(CLI::App& app, const std::string* server, int* exit_code);

// Some lines for people: state, tier, images, times, error.
std::string JobText(const v1::ImageJob& job);

}  // namespace heatkv::client

#endif  // CLIENT_JOB_COMMAND_H_
