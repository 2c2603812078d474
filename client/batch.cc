#include "client/batch.h"

#include <atomic>
#include <iostream>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/generation.h"
#include "client/picture_files.h"
#include "client/request_fields.h"
#include "nlohmann/json.hpp"

namespace heatkv::client {
namespace {

using nlohmann::json;

constexpr int kMaxTries = 100;

bool IsPlainName(const std::string& id) {
  if (id.empty() || id.size() > 200 || id[0] == '.') return false;
  for (const char c : id) {
    if (c == '/' || static_cast<unsigned char>(c) < ' ') return false;
  }
  return true;
}

std::string ReadLine(absl::string_view line, BatchItem* item) {
  const json value = json::parse(line.begin(), line.end(), nullptr,
                                 /*allow_exceptions=*/false);
  if (!value.is_object()) return "is no JSON object";
  for (const auto& [key, member] : value.items()) {
    std::string wrong;
    if (key != "id") {
      wrong = SetField(key, member, &item->request);
    } else if (member.is_string()) {
      item->id = member.get<std::string>();
    } else {
      wrong = "id must be text";
    }
    if (!wrong.empty()) return wrong;
  }
  if (!IsPlainName(item->id)) {
    return absl::StrCat("id \"", item->id, "\" is no plain file name");
  }
  if (!value.contains("prompt")) return "has no prompt";
  return "";
}

// One item until it is made, refused for good, or out of tries.
Generated MakeOne(const Connection& connection, const BatchItem& item,
                  const BatchOptions& options) {
  const std::filesystem::path file =
      options.folder / (item.id + EndingOf(item.request.format()));
  for (int tries = 1;; ++tries) {
    Generated made = Generate(connection, item.request, file, options.timeout,
                              [](const v1::GenerateImageEvent&) {});
    const absl::Duration delay = RetryDelay(made.status);
    if (delay == absl::ZeroDuration() || tries == kMaxTries) return made;
    absl::SleepFor(delay);
  }
}

}  // namespace

absl::StatusOr<std::vector<BatchItem>> ParseBatch(
    absl::string_view text, const v1::GenerateImageRequest& defaults) {
  std::vector<BatchItem> items;
  std::vector<std::string> mistakes;
  std::set<std::string> ids;
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (line.find_first_not_of(" \t\r") == absl::string_view::npos) continue;
    BatchItem item;
    item.request = defaults;
    std::string wrong = ReadLine(line, &item);
    if (wrong.empty() && !ids.insert(item.id).second) {
      wrong = absl::StrCat("repeats the id \"", item.id, "\"");
    }
    if (wrong.empty()) {
      items.push_back(std::move(item));
    } else {
      mistakes.push_back(absl::StrCat("line ", number, ": ", wrong));
    }
  }
  if (!mistakes.empty()) {
    return absl::InvalidArgumentError(absl::StrJoin(mistakes, "\n"));
  }
  return items;
}

int RunBatch(const Connection& connection, const std::vector<BatchItem>& items,
             const BatchOptions& options) {
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;  // of the counts and of both output streams
  int done = 0;
  int failed = 0;
  const auto work = [&] {
    while (true) {
      const std::size_t i = next++;
      if (i >= items.size()) return;
      const Generated made = MakeOne(connection, items[i], options);
      const std::lock_guard<std::mutex> lock(mutex);
      ++done;
      const std::string place = absl::StrCat(done, "/", items.size(), " ");
      if (!made.status.ok() || !made.file_status.ok()) {
        ++failed;
        std::cerr << place << items[i].id << ": "
                  << (made.file_status.ok()
                          ? DescribeFailure(made.status)
                          : std::string(made.file_status.message()))
                  << "\n";
        continue;
      }
      if (options.json) {
        nlohmann::ordered_json line = {{"id", items[i].id}};
        line.update(ToJson(made));
        std::cout << line.dump() << "\n" << std::flush;
      }
      if (!options.quiet) {
        for (const Generated::Picture& picture : made.pictures) {
          std::cerr << place << picture.file.string() << "\n";
        }
      }
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < options.parallel; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  return failed;
}

}  // namespace heatkv::client
