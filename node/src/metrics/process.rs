//! How the process is: under the names that every process has for Prometheus.

use super::family::Families;

/// What the system says of this process; nothing where it does not say.
#[cfg(target_os = "linux")]
pub(super) fn process(families: &mut Families) {
    use procfs::WithCurrentSystemInfo as _;
    use procfs::process::Process;
    use rustix::process::{Resource, getrlimit};

    let Ok(me) = Process::myself() else { return };
    if let Ok(stat) = me.stat() {
        let ticks = procfs::ticks_per_second() as f64;
        let cpu = (stat.utime + stat.stime) as f64 / ticks;
        let memory = stat.rss_bytes().get();
        families.counter("cpu", "Time of all cores that it has used.").in_seconds().is(cpu);
        families.gauge("resident_memory", "Memory that it takes.").in_bytes().is(memory);
        families.gauge("virtual_memory", "Memory that it may address.").in_bytes().is(stat.vsize);
        families.gauge("threads", "Its threads.").is(stat.num_threads as u64);
        if let Ok(booted) = procfs::boot_time_secs() {
            let started = booted as f64 + stat.starttime as f64 / ticks;
            let help = "When it was started, in seconds since 1970.";
            families.gauge("start_time", help).in_seconds().is(started);
        }
    }
    families.gauge("open_fds", "Its open files.").may_be(me.fd_count().ok());
    let most = getrlimit(Resource::Nofile).current;
    families.gauge("max_fds", "How many files it may have open.").may_be(most);
}

#[cfg(not(target_os = "linux"))]
pub(super) fn process(_: &mut Families) {}
