# One way to declare libraries, programs and tests, so that every target has the
# same warnings, sanitizers and include root.  Include paths are relative to the
# repository ("cache/block_pool.h").

option(HEATKV_WERROR "Take compiler warnings for errors" ON)
if(HEATKV_WERROR)
  set(HEATKV_WERROR_FLAG -Werror)
endif()

# Shared settings of all our targets.
function(heatkv_configure_target target)
  target_compile_options(
    ${target} PRIVATE -Wall -Wextra -Wno-sign-compare ${HEATKV_WERROR_FLAG}
                      -fno-strict-aliasing)
  if(HEATKV_SANITIZE)
    target_compile_options(${target} PUBLIC -fsanitize=${HEATKV_SANITIZE}
                                            -fno-omit-frame-pointer -g)
    target_link_options(${target} PUBLIC -fsanitize=${HEATKV_SANITIZE})
  endif()
endfunction()

# heatkv_library(NAME heatkv_cache SRCS a.cc DEPS absl::status [TORCH])
# DEPS are public: headers of ours include headers of theirs.
function(heatkv_library)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${ARG_NAME} STATIC ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${ARG_NAME} PUBLIC ${ARG_DEPS}
                        PRIVATE ${ARG_PRIVATE_DEPS})
  heatkv_configure_target(${ARG_NAME})
endfunction()

# heatkv_program(NAME heatkv_server SRCS main.cc DEPS ...)
function(heatkv_program)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS})
  target_compile_options(
    ${ARG_NAME} PRIVATE -Wall -Wextra -Wno-sign-compare ${HEATKV_WERROR_FLAG})
endfunction()

# heatkv_test(NAME block_pool_test SRCS block_pool_test.cc DEPS heatkv_cache
#             [LABELS gpu] [TIMEOUT 120])
# Every TEST of the file becomes a CTest test named NAME.Suite.Case.  Tests run
# in the repository root, so that they find tests/golden by its path.
function(heatkv_test)
  cmake_parse_arguments(ARG "" "NAME;TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} GTest::gmock
                                            GTest::gtest_main)
  target_compile_options(
    ${ARG_NAME} PRIVATE -Wall -Wextra -Wno-sign-compare ${HEATKV_WERROR_FLAG})
  set_target_properties(
    ${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  gtest_discover_tests(
    ${ARG_NAME}
    TEST_PREFIX "${ARG_NAME}."
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    DISCOVERY_MODE PRE_TEST
    # Gigabytes of libraries may come from a cold disk on a busy machine.
    DISCOVERY_TIMEOUT 120
    PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
