#include "model/text/piece_model.h"

#include <sentencepiece_processor.h>

namespace heatkv::model {

PieceModel::PieceModel()
    : processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {}

PieceModel::~PieceModel() = default;

std::string PieceModel::Load(std::string_view serialized) {
  const auto status = processor_->LoadFromSerializedProto(serialized);
  return status.ok() ? "" : status.ToString();
}

std::string PieceModel::Encode(std::string_view text,
                               std::vector<int>* ids) const {
  const auto status = processor_->Encode(text, ids);
  return status.ok() ? "" : status.ToString();
}

int PieceModel::end_of_sequence() const { return processor_->eos_id(); }

int PieceModel::size() const { return processor_->GetPieceSize(); }

}  // namespace heatkv::model
