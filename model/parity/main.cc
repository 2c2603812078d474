// heatkv_parity [--no-vae] [--device cpu|cuda[:N]]
//               [--precision float32|bfloat16]
//               [--feed-recorded | --own-bits] DIR...
//
// Compares our model with recorded runs of the authors' implementation
// (model/parity/golden_folder.h says what a DIR holds, parity_run.h what the
// options mean).  --feed-recorded and --own-bits hold for the folders that
// follow; --own-bits is the default.  Folders that share their weights load
// them once.
//
// Prints one JSON object a folder on standard output.  In float32 it exits 0 if
// logits, bits and pixels agree, 1 if they do not.  In bfloat16, which is the
// default on a GPU, no two implementations agree to the last bit and no
// tolerance would say much: it exits 0, and the figures are for the reader.  It
// exits 2, with one line on standard error, if a folder cannot be read, and
// leaves out those that follow.

#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/parity/parity_run.h"

namespace {

using heatkv::model::ParityOptions;
using Precision = ParityOptions::Precision;

struct Arguments {
  struct Folder {
    std::string path;
    bool feed_recorded = false;
  };
  std::vector<Folder> folders;
  ParityOptions options;
};

// Nothing, with a message on standard error, if they are wrong.
std::optional<Arguments> Parse(int argc, char** argv) {
  Arguments arguments;
  std::optional<Precision> precision;
  bool feed_recorded = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const std::string_view value = i + 1 < argc ? argv[i + 1] : "";
    if (argument == "--no-vae") {
      arguments.options.with_vae = false;
    } else if (argument == "--feed-recorded") {
      feed_recorded = true;
    } else if (argument == "--own-bits") {
      feed_recorded = false;
    } else if (argument == "--device" &&
               (value == "cpu" || value.starts_with("cuda"))) {
      arguments.options.device = argv[++i];
    } else if (argument == "--precision" &&
               (value == "float32" || value == "bfloat16")) {
      precision =
          value == "float32" ? Precision::kFloat32 : Precision::kBFloat16;
      ++i;
    } else if (!argument.starts_with("--")) {
      arguments.folders.push_back(
          {.path = argv[i], .feed_recorded = feed_recorded});
    } else {
      std::cerr << "heatkv_parity: unexpected argument '" << argument << "'\n";
      return std::nullopt;
    }
  }
  if (arguments.folders.empty()) {
    std::cerr << "usage: heatkv_parity [--no-vae] [--device cpu|cuda[:N]] "
                 "[--precision float32|bfloat16] [--feed-recorded | "
                 "--own-bits] DIR...\n";
    return std::nullopt;
  }
  arguments.options.precision = precision.value_or(
      arguments.options.device == "cpu" ? Precision::kFloat32
                                        : Precision::kBFloat16);
  return arguments;
}

}  // namespace

int main(int argc, char** argv) {
  const std::optional<Arguments> arguments = Parse(argc, argv);
  if (!arguments.has_value()) return 2;
  heatkv::model::ParityRunner runner;
  ParityOptions options = arguments->options;
  bool differs = false;
  for (const Arguments::Folder& folder : arguments->folders) {
    options.feed_recorded = folder.feed_recorded;
    const auto report = runner.Run(folder.path, options);
    if (!report.ok()) {
      std::cerr << "heatkv_parity: " << report.status().message() << "\n";
      return 2;
    }
    std::cout << report->ToJson() << std::endl;
    differs = differs || !report->Passes();
  }
  const bool judged = options.precision == Precision::kFloat32;
  return judged && differs ? 1 : 0;
}
