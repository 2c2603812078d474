# `heatkv plan`: no gRPC, so that it is tested alone.
heatkv_library(
  NAME heatkv_plan
  SRCS occupancy_plot.cc plan.cc plan_admission.cc plan_costs.cc plan_model.cc
       plan_output.cc plan_report.cc plan_simulation.cc
       plan_simulation_output.cc
  DEPS heatkv_base heatkv_cache heatkv_calibration heatkv_model_api
       heatkv_simulator absl::status absl::statusor absl::strings
       absl::str_format absl::time
  PRIVATE_DEPS heatkv_config)
