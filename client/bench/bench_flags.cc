#include "client/bench/bench_flags.h"

#include <fstream>
#include <sstream>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "client/durations.h"
#include "client/request_fields.h"

namespace heatkv::client {
namespace {

constexpr int kDefaultRequests = 100;

// A flag with a duration in words.
void AddDuration(CLI::App& command, const std::string& name, std::string* text,
                 const std::string& what) {
  command.add_option(name, *text, what)
      ->check([](const std::string& given) {
        absl::Duration read;
        return ReadDuration(given, &read)
                   ? std::string()
                   : absl::StrCat("\"", given,
                                  "\" is no duration such as 200ms or 5s");
      })
      ->capture_default_str();
}

absl::Duration DurationOr(const std::string& text, absl::Duration otherwise) {
  absl::Duration read = otherwise;
  ReadDuration(text, &read);  // was checked by the flag
  return read;
}

absl::StatusOr<std::string> ReadFile(const std::string& name) {
  std::ostringstream text;
  std::ifstream file(name);
  if (!file || !(text << file.rdbuf())) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": cannot be read"));
  }
  return text.str();
}

absl::StatusOr<std::vector<MixEntry>> ReadEntries(const BenchFlags& flags) {
  const bool has_mix = !flags.mix.empty();
  if (!has_mix && flags.prompts.empty()) return DefaultPrompts({});
  const std::string& name = has_mix ? flags.mix : flags.prompts;
  const auto text = ReadFile(name);
  if (!text.ok()) return text.status();
  auto entries = has_mix ? ParseMix(*text, {}) : ParsePrompts(*text, {});
  if (entries.ok()) return entries;
  return absl::InvalidArgumentError(
      absl::StrCat(name, ":\n", entries.status().message()));
}

bool HasChoices(const BenchFlags& flags) {
  const FieldChoices& choices = flags.choices;
  return !choices.tiers.empty() || !choices.aspects.empty() ||
         !choices.tenants.empty() || !flags.priorities.empty() ||
         !choices.guidances.empty() || !choices.images.empty() ||
         choices.preview_share >= 0;
}

void AddOwnServerFlags(CLI::App& command, OwnServerFlags* flags) {
  const auto add = [&](const char* names, auto* value, const char* what) {
    command.add_option(names, *value, what)->group("A server of its own");
  };
  add("--model", &flags->model,
      "Start a server for the load, on this folder or model of models/");
  add("--random_weights,--random-weights", &flags->random_weights,
      "Its weights are drawn from this seed");
  add("--device", &flags->device, "Its device: cpu, cuda, cuda:0,cuda:1, all");
  add("--config", &flags->config, "Its configuration, deploy/heatkv.yaml");
  add("--tokenizer", &flags->tokenizer,
      "File or folder with its tokenizer, if the model has none");
  add("--pool", &flags->pool, "Size of its pool, such as \"3 GiB\"");
  add("--server_program,--server-program", &flags->program,
      "The server (otherwise heatkv_server beside this program)");
}

}  // namespace

void AddBenchFlags(CLI::App& command, BenchFlags* flags) {
  const CLI::Range share(0.0, 1.0);
  command
      .add_option("--concurrency", flags->concurrency,
                  "Closed loop: requests in flight")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command
      .add_option("--rate", flags->rate,
                  "Open loop: Poisson arrivals, this many a second")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--requests", flags->requests,
                  "How many (otherwise 100, or as many as --duration allows)")
      ->check(CLI::Range(1, 100000000));
  AddDuration(command, "--duration", &flags->duration,
              "Start requests for this long");
  AddDuration(command, "--timeout", &flags->timeout, "Deadline of a request");
  AddDuration(command, "--latency_limit", &flags->latency_limit,
              "What counts as good throughput");
  auto* mix = command.add_option("--mix", flags->mix,
                                 "JSON lines of requests with id and weight");
  command.add_option("--prompts", flags->prompts, "File with a prompt a line")
      ->excludes(mix);
  command
      .add_flag("--replay", flags->replay, "Each line of --mix once, in order")
      ->needs(mix);
  FieldChoices& choices = flags->choices;
  const auto list = [&](const char* name, auto* values, const char* what) {
    return command.add_option(name, *values, what)->delimiter(',');
  };
  list("--tiers", &choices.tiers,
       "Draw the tier from these, such as full,high");
  list("--aspects", &choices.aspects, "Draw the aspect from these");
  list("--tenants", &choices.tenants, "Draw the tenant from these");
  list("--priorities", &flags->priorities, "Draw the priority from these")
      ->check(CLI::IsMember({"low", "normal", "high"}));
  list("--guidances", &choices.guidances, "Draw the guidance from these");
  list("--images", &choices.images, "Draw the images a request from these")
      ->check(CLI::Range(1, 1000));
  command
      .add_option("--preview_share", choices.preview_share,
                  "Share of requests with a preview after every scale")
      ->check(share);
  command.add_option("--seed", flags->seed, "Of everything that is drawn")
      ->capture_default_str();
  command
      .add_option("--cancel_share,--cancel-share", flags->faults.cancel,
                  "Share of requests that are cancelled on the way")
      ->check(share);
  command
      .add_option("--slow_share,--slow-share", flags->faults.slow,
                  "Share of requests whose reader is slow")
      ->check(share);
  command
      .add_option("--vanish_share,--vanish-share", flags->faults.vanish,
                  "Share of requests whose connection is dropped")
      ->check(share);
  AddDuration(command, "--slow_read", &flags->slow_read,
              "Pause after every event of half of the slow readers");
  AddDuration(command, "--slow_pause", &flags->slow_pause,
              "The one pause of the other half");
  command
      .add_option("--connections", flags->connections, "That requests share")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command.add_option("--admin", flags->admin,
                     "Operator's port, for the pool's figures");
  command.add_option("--json", flags->json,
                     "Write all figures to this file (- is standard output)");
  command.add_option("--records", flags->records,
                     "Write a JSON line a request to this file");
  command.add_flag("--quiet", flags->quiet, "No progress");
  AddOwnServerFlags(command, &flags->own_server);
}

absl::StatusOr<BenchPlan> MakeBenchPlan(const BenchFlags& flags) {
  const double shares =
      flags.faults.cancel + flags.faults.slow + flags.faults.vanish;
  if (shares > 1 + 1e-9) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--cancel_share, --slow_share and --vanish_share add up to ", shares,
        ", more than 1"));
  }
  if (flags.replay && HasChoices(flags)) {
    return absl::InvalidArgumentError(
        "--replay sends the lines as they are: drop --tiers, --aspects, "
        "--tenants, --priorities, --guidances, --images and --preview_share");
  }
  auto entries = ReadEntries(flags);
  if (!entries.ok()) return entries.status();

  LoadOptions load;
  load.concurrency = flags.concurrency;
  load.rate = flags.rate;
  load.seed = flags.seed;
  load.duration = DurationOr(flags.duration, absl::InfiniteDuration());
  load.timeout = DurationOr(flags.timeout, absl::InfiniteDuration());
  load.pauses.steady = DurationOr(flags.slow_read, absl::ZeroDuration());
  load.pauses.single = DurationOr(flags.slow_pause, absl::ZeroDuration());
  load.requests = flags.requests;
  const int lines = static_cast<int>(entries->size());
  if (flags.replay) {
    if (load.requests.value_or(0) > lines) {
      return absl::InvalidArgumentError(
          absl::StrCat("--requests ", *load.requests, ": ", flags.mix,
                       " has only ", lines, " to replay"));
    }
    load.requests = load.requests.value_or(lines);
  }
  if (!load.requests && load.duration == absl::InfiniteDuration()) {
    load.requests = kDefaultRequests;
  }

  FieldChoices choices = flags.choices;
  for (const std::string& name : flags.priorities) {
    v1::Priority priority = v1::PRIORITY_NORMAL;
    ReadPriority(name, &priority);  // was checked by the flag
    choices.priorities.push_back(priority);
  }
  Mix mix = flags.replay
                ? Mix::Replay(*std::move(entries), flags.seed)
                : Mix(*std::move(entries), std::move(choices), flags.seed);
  const double limit = absl::ToDoubleSeconds(
      DurationOr(flags.latency_limit, absl::InfiniteDuration()));
  // A load that the clock ends draws each request's fault for itself.
  const bool is_counted = load.duration == absl::InfiniteDuration();
  return BenchPlan{
      std::move(mix),
      FaultDraws(flags.faults, is_counted ? *load.requests : 0, flags.seed),
      load, limit};
}

}  // namespace heatkv::client
