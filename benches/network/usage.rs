//! What a process has used, and has. Linux.

/// As the kernel counts it.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// On all cores together, in steps of 10 ms.
    pub(crate) cpu_s: f64,
    pub(crate) rss_mb: f64,
}

/// Of the process with this number.
pub(crate) fn usage(process: u32) -> Usage {
    /// Of the kernel's clock, in which it tells times: the same on all machines.
    const TICKS_PER_S: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name stands in brackets, and may have anything in it.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.map(|it| it.parse::<f64>().unwrap()).sum();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = rss.split_whitespace().next().unwrap().parse().unwrap();
    Usage { cpu_s: ticks / TICKS_PER_S, rss_mb: kib * 1024.0 / 1e6 }
}
