// The SentencePiece library behind a face of the standard library's types only.
// Its header declares an absl::string_view of its own, which cannot live in one
// translation unit with Abseil's.
//
// Immutable after loading; every method may be called from any thread.

#ifndef MODEL_TEXT_PIECE_MODEL_H_
#define MODEL_TEXT_PIECE_MODEL_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}  // namespace sentencepiece

namespace heatkv::model {

class PieceModel {
 public:
  PieceModel();
  ~PieceModel();
  PieceModel(const PieceModel&) = delete;
  PieceModel& operator=(const PieceModel&) = delete;

  // Both return an empty string, or what went wrong.
  std::string Load(std::string_view serialized);
  std::string Encode(std::string_view text, std::vector<int>* ids) const;

  int end_of_sequence() const;  // -1 if the model has none
  int size() const;             // number of pieces

 private:
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
};

}  // namespace heatkv::model

#endif  // MODEL_TEXT_PIECE_MODEL_H_
