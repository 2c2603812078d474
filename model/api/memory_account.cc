#include "model/api/memory_account.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/readable_bytes.h"

namespace heatkv::model {
namespace {

std::int64_t Sum(const std::vector<MemoryPart>& parts) {
  std::int64_t bytes = 0;
  for (const MemoryPart& part : parts) bytes += part.bytes;
  return bytes;
}

std::vector<MemoryPart> NotLoaded(const std::vector<MemoryPart>& parts) {
  std::vector<MemoryPart> rest;
  for (const MemoryPart& part : parts) {
    if (!part.is_loaded) rest.push_back(part);
  }
  return rest;
}

absl::Status Check(const std::vector<MemoryPart>& parts,
                   const std::string& where, std::int64_t available) {
  const std::int64_t needed = Sum(parts);
  if (needed <= available) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "the memory of ", where, " does not suffice: ", needed, " bytes (",
      ReadableBytes(needed), ") are needed, but only ", available, " (",
      ReadableBytes(available), ") are available: ", DescribeParts(parts)));
}

}  // namespace

std::int64_t MemoryAccount::total() const { return Sum(parts); }

std::int64_t MemoryAccount::not_loaded() const { return Sum(NotLoaded(parts)); }

std::string DescribeParts(const std::vector<MemoryPart>& parts) {
  return absl::StrJoin(parts, ", ", [](std::string* out, const MemoryPart& p) {
    absl::StrAppend(out, p.name, " ", ReadableBytes(p.bytes));
  });
}

std::string DescribeAccount(const MemoryAccount& account) {
  std::string text = absl::StrCat("memory of ", account.device, ": ",
                                  DescribeParts(account.parts));
  const std::string all = ReadableBytes(account.available);
  if (account.left() < 0) {
    return absl::StrCat(text, "; ", ReadableBytes(-account.left()),
                        " more than the ", all, " that are available");
  }
  return absl::StrCat(text, "; left ", ReadableBytes(account.left()), " of ",
                      all);
}

absl::Status CheckFits(const MemoryAccount& account) {
  return Check(account.parts, account.device, account.available);
}

absl::Status CheckRestFits(const MemoryAccount& account,
                           std::int64_t available) {
  return Check(NotLoaded(account.parts),
               absl::StrCat(account.device, ", with the model loaded,"),
               available);
}

}  // namespace heatkv::model
