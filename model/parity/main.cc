// heatkv_parity [--no-vae] [--device cpu|cuda[:N]]
//               [--precision float32|bfloat16] [--feed-recorded] DIR
//
// Compares our model with a recorded run of the authors' implementation
// (model/parity/golden_folder.h says what DIR holds, parity_run.h what the
// options mean).
//
// Prints one JSON object on standard output.  In float32 it exits 0 if logits,
// bits and pixels agree, 1 if they do not.  In bfloat16, which is the default
// on a GPU, no two implementations agree to the last bit and no tolerance would
// say much: it exits 0, and the figures are for the reader.  It exits 2, with
// one line on standard error, if the folder cannot be read.

#include <iostream>
#include <optional>
#include <string>
#include <string_view>

#include "model/parity/parity_run.h"

namespace {

using heatkv::model::ParityOptions;
using Precision = ParityOptions::Precision;

struct Arguments {
  std::string folder;
  ParityOptions options;
};

// Nothing, with a message on standard error, if they are wrong.
std::optional<Arguments> Parse(int argc, char** argv) {
  Arguments arguments;
  std::optional<Precision> precision;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const std::string_view value = i + 1 < argc ? argv[i + 1] : "";
    if (argument == "--no-vae") {
      arguments.options.with_vae = false;
    } else if (argument == "--feed-recorded") {
      arguments.options.feed_recorded = true;
    } else if (argument == "--device" &&
               (value == "cpu" || value.starts_with("cuda"))) {
      arguments.options.device = argv[++i];
    } else if (argument == "--precision" &&
               (value == "float32" || value == "bfloat16")) {
      precision =
          value == "float32" ? Precision::kFloat32 : Precision::kBFloat16;
      ++i;
    } else if (arguments.folder.empty() && !argument.starts_with("--")) {
      arguments.folder = argument;
    } else {
      std::cerr << "heatkv_parity: unexpected argument '" << argument << "'\n";
      return std::nullopt;
    }
  }
  if (arguments.folder.empty()) {
    std::cerr << "usage: heatkv_parity [--no-vae] [--device cpu|cuda[:N]] "
                 "[--precision float32|bfloat16] [--feed-recorded] DIR\n";
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
  const auto report =
      heatkv::model::RunParity(arguments->folder, arguments->options);
  if (!report.ok()) {
    std::cerr << "heatkv_parity: " << report.status().message() << "\n";
    return 2;
  }
  std::cout << report->ToJson() << std::endl;
  const bool judged = arguments->options.precision == Precision::kFloat32;
  return !judged || report->Passes() ? 0 : 1;
}
