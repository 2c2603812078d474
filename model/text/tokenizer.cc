#include "model/text/tokenizer.h"

#include <dlfcn.h>

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/weights/mapped_file.h"

namespace heatkv::model {
namespace {

// Whether SentencePiece's global flag lies in SentencePiece.  LibTorch has a
// smaller one of the same name; a program linked in the wrong order lets the
// constructor of the one overwrite the neighbours of the other before main
// (see model/backend.cmake).
bool FlagsAreApart() {
  void* const flag = dlsym(RTLD_DEFAULT, "FLAGS_minloglevel");
  Dl_info place;
  return flag == nullptr || dladdr(flag, &place) == 0 ||
         std::strstr(place.dli_fname, "sentencepiece") != nullptr;
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> Tokenizer::Load(
    const std::string& path) {
  HEATKV_CHECK(FlagsAreApart())
      << "libsentencepiece must be linked before libtorch";
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file,
                   MappedFile::Open(path));
  auto pieces = std::make_unique<PieceModel>();
  const std::span<const std::byte> bytes = file->bytes();
  const std::string problem =
      pieces->Load({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!problem.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not a SentencePiece model: ", problem));
  }
  if (pieces->end_of_sequence() != kEndOfSequence) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the end-of-sequence piece has id ",
                     pieces->end_of_sequence(), ", expected ", kEndOfSequence));
  }
  return std::unique_ptr<const Tokenizer>(new Tokenizer(std::move(pieces)));
}

absl::StatusOr<std::vector<int>> Tokenizer::Encode(
    std::string_view text) const {
  std::vector<int> ids;
  const std::string problem = pieces_->Encode(text, &ids);
  if (!problem.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot tokenise the prompt: ", problem));
  }
  ids.push_back(kEndOfSequence);
  return ids;
}

int Tokenizer::vocabulary() const { return pieces_->size(); }

}  // namespace heatkv::model
