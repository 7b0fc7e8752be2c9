# embed.cmake: writes OUT, a C file that holds every file of IN (a list joined by |) as a NUL-terminated array sy__NAME_EXT.
#   cmake -DIN=src/report/report.css|src/report/report.js -DOUT=parts.c -P cmake/embed.cmake
string(REPLACE "|" ";" files "${IN}")
set(text "/* Made by cmake/embed.cmake; do not edit. */\n")
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  string(REPLACE "." "_" name ${name})
  file(READ ${file} bytes HEX)
  string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
  string(APPEND text "extern const char sy__${name}[];\nconst char sy__${name}[] = {\n${bytes}0 };\n")
endforeach()
file(WRITE ${OUT} "${text}")
