// Prompt to piece ids by a SentencePiece model, T5's way: the model's own
// pieces followed by the end-of-sequence piece.  Text is text: names of control
// pieces in a prompt are spelt out, never taken as control.
//
// Immutable after loading; every method may be called from any thread.

#ifndef MODEL_TEXT_TOKENIZER_H_
#define MODEL_TEXT_TOKENIZER_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/text/piece_model.h"

namespace heatkv::model {

class Tokenizer {
 public:
  // Every T5 tokenizer's.
  static constexpr int kEndOfSequence = 1;

  // Fails with NotFound if there is no such file, and with InvalidArgument if
  // it is no SentencePiece model, or one whose end-of-sequence id is not
  // kEndOfSequence.
  static absl::StatusOr<std::unique_ptr<const Tokenizer>> Load(
      const std::string& path);

  // All pieces and the final kEndOfSequence; never truncated, never empty.
  // Fails with InvalidArgument if `text` cannot be encoded.
  absl::StatusOr<std::vector<int>> Encode(std::string_view text) const;

  // Number of different pieces.
  int vocabulary() const;

 private:
  explicit Tokenizer(std::unique_ptr<PieceModel> pieces)
      : pieces_(std::move(pieces)) {}

  std::unique_ptr<PieceModel> pieces_;
};

}  // namespace heatkv::model

#endif  // MODEL_TEXT_TOKENIZER_H_
