// The command `heatkv plan`: prints what a budget means for a model.  Flags and
// wiring only; client/plan_report.h has the logic.

#ifndef CLIENT_PLAN_H_
#define CLIENT_PLAN_H_

#include <filesystem>

#include "CLI/App.hpp"

namespace heatkv::client {

// Adds the subcommand "plan" to `app`.  `program` is the folder of the running
// program, from which the models folder is found if no flag says where it is.
// When `app` is parsed with the subcommand, the plan is printed to standard
// output (or the reason why there is none to standard error) and `*exit_code`
// is set: 0, or 1 if there is no plan.  `exit_code` must outlive the parse.
void AddPlanCommand(CLI::App& app, const std::filesystem::path& program,
                    int* exit_code);

}  // namespace heatkv::client

#endif  // CLIENT_PLAN_H_
