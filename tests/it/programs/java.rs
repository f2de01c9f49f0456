//! A JVM: it takes its heap and its processors by the limits that it finds.

use crate::support::{Run, Who, Workspace, grouped, need};

/// The largest heap in bytes, and the processors, as the JVM takes them.
#[track_caller]
fn taken(who: Who, workspace: &Workspace, memory: &str, cpus: &str) -> (u64, u32) {
    let source = "public class Sizes { public static void main(String[] a) { \
        System.out.println(Runtime.getRuntime().maxMemory() + \" \" \
        + Runtime.getRuntime().availableProcessors()); } }";
    workspace.write("Sizes.java", source);
    let ran = Run::new(who, workspace)
        .policy("coding")
        .flags(["--memory", memory, "--cpus", cpus])
        .argv(["/usr/bin/java", "-XX:TieredStopAtLevel=1", "Sizes.java"])
        .ok();
    let (heap, processors) = ran.stdout.trim().split_once(' ').expect("two numbers");
    (
        heap.parse().expect("bytes"),
        processors.parse().expect("a count"),
    )
}

each!(a_jvm_reads_what_its_groups_count);
/// On cgroup v1 it fails where it is in none of the groups that it finds.
fn a_jvm_reads_what_its_groups_count(who: Who) {
    need("java");
    let source = "import java.lang.management.ManagementFactory; public class Load { \
        public static void main(String[] a) { var bean = (com.sun.management.OperatingSystemMXBean) \
        ManagementFactory.getOperatingSystemMXBean(); bean.getCpuLoad(); bean.getProcessCpuLoad(); \
        System.out.println(bean.getTotalMemorySize() > 0); } }";
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    workspace.write("Load.java", source);
    let run = || Run::new(who, &workspace).policy("coding");
    let argv = ["/usr/bin/java", "-XX:TieredStopAtLevel=1", "Load.java"];
    assert_eq!(run().argv(argv).ok().stdout, "true\n");
    run()
        .argv(["/usr/bin/java", "-XshowSettings:system", "-version"])
        .ok();
}

each!(a_jvm_sizes_itself_by_the_jails_limits);
fn a_jvm_sizes_itself_by_the_jails_limits(who: Who) {
    need("java");
    if !grouped(who) {
        return;
    }
    let workspace = Workspace::new(who);
    let (small, one) = taken(who, &workspace, "400MiB", "1");
    assert!(small <= 200 << 20, "{small}");
    assert_eq!(one, 1);
    let (large, _) = taken(who, &workspace, "2GiB", "2");
    assert!(large > small && large <= 512 << 20, "{large}");
}
