# write_pages.cmake: cmake -D IGN=PROGRAM -D OUT=FOLDER -P: lets the program write its manual to
# OUT/man and its completions to OUT/completion.
cmake_minimum_required(VERSION 3.22)

# page(FILE WORDS...): what `ign WORDS` prints. No settings of this machine's user count.
function(page file)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env --unset=IGN_CONFIG ${IGN} ${ARGN}
    OUTPUT_FILE ${OUT}/${file} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(MAKE_DIRECTORY ${OUT}/man ${OUT}/completion)
execute_process(COMMAND ${IGN} help --json OUTPUT_VARIABLE list COMMAND_ERROR_IS_FATAL ANY)
string(JSON n LENGTH ${list} verbs)
math(EXPR last "${n} - 1")
foreach(i RANGE ${last})
  string(JSON verb GET ${list} verbs ${i} name)
  page(man/ign-${verb}.1 help --man ${verb})
endforeach()
page(man/ign.toml.5 help --man ign.toml)
page(completion/ign completion bash)
page(completion/_ign completion zsh)
page(completion/ign.fish completion fish)
page(man/ign.1 help --man)
