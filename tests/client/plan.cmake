heatkv_test(NAME plan_test SRCS plan_test.cc DEPS heatkv_plan heatkv_cache_cases)
foreach(name occupancy_plot_test plan_simulation_test)
  heatkv_test(NAME ${name} SRCS ${name}.cc DEPS heatkv_plan)
endforeach()
