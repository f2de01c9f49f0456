//! gcc and make: a small project, its tests, and a shared library.

use super::{belongs_to_its_owner, coding};
use crate::support::{Who, Workspace, need};

fn project(workspace: &Workspace) {
    workspace.write("add.h", "int add(int, int);\n");
    workspace.write(
        "add.c",
        "#include \"add.h\"\nint add(int a, int b) { return a + b; }\n",
    );
    workspace.write(
        "main.c",
        "#include <stdio.h>\n#include \"add.h\"\nint main(void) { printf(\"%d\\n\", add(40, 2)); return 0; }\n",
    );
    workspace.write(
        "Makefile",
        "CFLAGS = -Wall -Werror -O2 -g\nsum: main.o add.o\n\t$(CC) -o $@ $^\n%.o: %.c add.h\n\t$(CC) $(CFLAGS) -c $<\n\
         libadd.so: add.c\n\t$(CC) -shared -fPIC -o $@ $<\nclean:\n\trm -f *.o sum libadd.so\n",
    );
}

each!(make_builds_a_c_project_in_parallel_and_the_result_runs);
fn make_builds_a_c_project_in_parallel_and_the_result_runs(who: Who) {
    need("gcc");
    need("make");
    let workspace = Workspace::new(who);
    project(&workspace);
    let ran = coding(
        who,
        &workspace,
        "make -s -j4; ./sum; make -q && echo fresh; make -s clean; ls *.o 2>/dev/null || echo clean",
    );
    assert_eq!(ran.stdout, "42\nfresh\nclean\n");
    belongs_to_its_owner(who, &workspace);
}

each!(gcc_links_and_loads_a_shared_library);
fn gcc_links_and_loads_a_shared_library(who: Who) {
    need("gcc");
    let workspace = Workspace::new(who);
    project(&workspace);
    let script = "make -s libadd.so; gcc -o sum main.c -L. -ladd -Wl,-rpath,\"$PWD\"; ./sum; ldd sum | grep -c libadd.so";
    assert_eq!(coding(who, &workspace, script).stdout, "42\n1\n");
}

each!(what_gcc_builds_in_tmp_and_in_home_runs_there);
fn what_gcc_builds_in_tmp_and_in_home_runs_there(who: Who) {
    need("gcc");
    let workspace = Workspace::new(who);
    project(&workspace);
    for place in ["/tmp", "$HOME"] {
        let script = format!("gcc -o {place}/sum main.c add.c; {place}/sum");
        assert_eq!(coding(who, &workspace, &script).stdout, "42\n");
    }
}
