// heatkv: the command line.  `heatkv --help` lists the commands.
//
// Exit status: 0 done; 1 a request or a file failed; 2 the command line is
// wrong; 3 no server answers.

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "CLI/CLI.hpp"
#include "client/admin_command.h"
#include "client/bench/bench_command.h"
#include "client/capabilities_command.h"
#include "client/connection.h"
#include "client/estimate_command.h"
#include "client/generate_command.h"
#include "client/job_command.h"
#include "client/plan.h"

namespace heatkv::client {
namespace {

std::string FromEnvironment(const char* name, const char* otherwise) {
  const char* const value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

int Main(int argc, char** argv) {
  std::string server = FromEnvironment("HEATKV_SERVER", "localhost:50051");
  int exit_code = kExitOk;
  CLI::App app("Pictures from text, by a HeatKV server", "heatkv");
  app.set_version_flag("--version", "heatkv " HEATKV_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--server", server, "Address of the server (or HEATKV_SERVER)")
      ->capture_default_str();
  std::error_code error;
  const std::filesystem::path program =
      std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  AddGenerateCommand(app, &server, &exit_code);
  AddEstimateCommand(app, &server, &exit_code);
  AddJobCommand(app, &server, &exit_code);
  AddCapabilitiesCommand(app, &server, &exit_code);
  AddBenchCommand(app, program, &server, &exit_code);
  AddAdminCommand(app, FromEnvironment("HEATKV_ADMIN", "localhost:50052"),
                  &exit_code);
  AddPlanCommand(app, program, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kExitOk : kExitUsage;
  }
  return exit_code;
}

}  // namespace
}  // namespace heatkv::client

int main(int argc, char** argv) { return heatkv::client::Main(argc, argv); }
