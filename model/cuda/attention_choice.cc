#include "model/cuda/attention_choice.h"

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace heatkv::model {

bool AbslParseFlag(absl::string_view text, AttentionChoice* choice,
                   std::string* error) {
  for (const AttentionChoice known :
       {AttentionChoice::kFastest, AttentionChoice::kFlashAttention2,
        AttentionChoice::kHopper, AttentionChoice::kShort}) {
    if (text == AbslUnparseFlag(known)) {
      *choice = known;
      return true;
    }
  }
  *error = absl::StrCat("'", text, "' is none of auto, fa2, hopper and short");
  return false;
}

std::string AbslUnparseFlag(AttentionChoice choice) {
  switch (choice) {
    case AttentionChoice::kFastest:
      return "auto";
    case AttentionChoice::kFlashAttention2:
      return "fa2";
    case AttentionChoice::kHopper:
      return "hopper";
    case AttentionChoice::kShort:
      return "short";
  }
  HEATKV_CHECK(false) << "a choice without a name";
  return "";
}

}  // namespace heatkv::model
