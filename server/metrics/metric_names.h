// Every metric that the server exports: its name, its help text and, where it
// is a histogram, its buckets.  Base units, no label that grows with requests.

#ifndef SERVER_METRICS_METRIC_NAMES_H_
#define SERVER_METRICS_METRIC_NAMES_H_

namespace heatkv::server::metric {

struct Description {
  const char* name;
  const char* help;
};

// The pool.  used + reserved + free = limit.
inline constexpr Description kPoolBytes = {
    "heatkv_kv_pool_bytes",
    "Bytes of the key-value pool by state: used holds tokens, reserved is "
    "promised to running images and not used now, free is neither."};
inline constexpr Description kPoolLimitBytes = {
    "heatkv_kv_pool_limit_bytes", "Size of the key-value pool in bytes."};
inline constexpr Description kPoolHighWaterBytes = {
    "heatkv_kv_pool_high_water_bytes",
    "The most bytes of the key-value pool that were ever used at once."};
inline constexpr Description kCacheBytes = {
    "heatkv_cache_bytes",
    "Bytes of keys and values that a head holds now, over all images. The sum "
    "over all heads is the used part of the pool."};
inline constexpr Description kPlanErrorBytes = {
    "heatkv_plan_error_bytes",
    "Bytes in use minus the bytes that the schedules planned. Anything but 0 "
    "is a bug."};

// Requests.
inline constexpr Description kRequests = {
    "heatkv_requests_total",
    "Finished calls by method, gRPC status code and tier (empty if the call "
    "named none that exists)."};
inline constexpr Description kImages = {"heatkv_images_total",
                                        "Images by tier and gRPC status code."};
inline constexpr Description kRequestDuration = {
    "heatkv_request_duration_seconds",
    "From the arrival of a successful call to its last image, by tier."};
inline constexpr Description kStageDuration = {
    "heatkv_stage_duration_seconds",
    "Time in a stage: queue and text a request; scales, decode and encode an "
    "image."};
inline constexpr Description kScaleDuration = {
    "heatkv_scale_duration_seconds",
    "Time of one scale (counted from 1) of one image."};
inline constexpr Description kRequestsRunning = {
    "heatkv_requests_running", "Requests with an image in the making."};
inline constexpr Description kImagesRunning = {"heatkv_images_running",
                                               "Images in the making."};
inline constexpr Description kRequestsWaiting = {
    "heatkv_requests_waiting", "Requests that wait for room in the pool."};
inline constexpr Description kWaitingBytes = {
    "heatkv_waiting_bytes",
    "Bytes of cache that the waiting images will hold at their peaks."};
inline constexpr Description kOldestWait = {
    "heatkv_queue_oldest_age_seconds",
    "How long the first request of the queue has waited."};
inline constexpr Description kDraining = {
    "heatkv_draining", "1 while the server shuts down, else 0."};
inline constexpr Description kBuild = {
    "heatkv_build_info",
    "1; the labels name the server's version and the model it serves."};

inline constexpr double kRequestBuckets[] = {0.05, 0.1, 0.25, 0.5, 1,  2,
                                             4,    8,   16,   32,  64, 128};
inline constexpr double kStageBuckets[] = {0.001, 0.003, 0.01, 0.03, 0.1,
                                           0.3,   1,     3,    10,   30};
inline constexpr double kScaleBuckets[] = {0.001, 0.005, 0.02, 0.1, 0.5, 2};

}  // namespace heatkv::server::metric

#endif  // SERVER_METRICS_METRIC_NAMES_H_
