#include "bench/work_report.h"

#include "base/check.h"
#include "model/api/flop_count.h"

namespace heatkv::server {
namespace {

double Share(double flops, double seconds, double rate) {
  return seconds > 0 ? flops / seconds / rate : 0.0;
}

nlohmann::json Stage(double flops, double ms, double rate) {
  return {{"tflop", flops / 1e12}, {"share", Share(flops, ms / 1e3, rate)}};
}

}  // namespace

nlohmann::json ReportWork(const model::ModelSpec& spec,
                          const cache::Schedule& schedule,
                          const MeasuredWork& measured) {
  HEATKV_CHECK(measured.rate > 0);
  const cache::ScaleLadder& ladder = schedule.ladder();
  const model::TransformerSpec& transformer = spec.transformer;
  nlohmann::json report;
  double sum = 0;
  for (int scale = 0; scale < ladder.num_scales(); ++scale) {
    const double flops =
        model::FlopsOfScale(transformer, schedule, scale, measured.branches,
                            measured.text_tokens)
            .total();
    sum += flops;
    report["scales"].push_back(Stage(flops * measured.images_in_step.at(scale),
                                     measured.scale_ms.at(scale),
                                     measured.rate));
  }
  const int tokens = static_cast<int>(ladder.tokens(ladder.num_scales() - 1));
  const double decoding = model::FlopsOfDecoding(
      spec.vae, transformer.bits, transformer.patchify ? 4 * tokens : tokens);
  const double text =
      model::FlopsOfTextEncoder(spec.text_encoder, measured.text_tokens) +
      model::FlopsOfTextKeys(transformer, measured.text_tokens);
  report["decode"] = Stage(decoding, measured.decode_ms, measured.rate);
  report["text"] = Stage(text, measured.text_ms, measured.rate);
  sum += decoding + text;
  report["tflop_per_image"] = sum / 1e12;
  report["share_of_matrix_rate"] =
      Share(sum, measured.seconds_per_image, measured.rate);
  return report;
}

}  // namespace heatkv::server
