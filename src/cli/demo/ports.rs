//! Addresses for programs that cannot be given a listener.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// Below the ports that systems give by themselves to listeners on port 0 and to connections (Linux from 32768 on, others
/// from 49152): there, somebody's next connection would take the port between this answer and its use.
const FIRST: u16 = 10_000;
/// One of two: a node's metrics are at the port that follows its own.
const STEP: u16 = 2;
const COUNT: u16 = 11_000;

/// How many this process has looked at.
static LOOKED_AT: AtomicU16 = AtomicU16::new(0);

/// So many addresses of loopback that nobody listens on, no two of one process the same.
///
/// # Errors
/// None is left.
pub(crate) fn free(count: usize) -> io::Result<Vec<SocketAddr>> {
    // Processes that look at the same time begin far from each other.
    let begin = std::process::id().wrapping_mul(7919) % u32::from(COUNT);
    let mut found = Vec::new();
    for _ in 0..COUNT {
        if found.len() == count {
            break;
        }
        let at = (begin + u32::from(LOOKED_AT.fetch_add(1, Relaxed))) % u32::from(COUNT);
        #[allow(clippy::cast_possible_truncation, reason = "below COUNT")]
        let port = FIRST + STEP * at as u16;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            found.push(listener.local_addr()?);
        }
    }
    if found.len() < count {
        let last = FIRST + STEP * (COUNT - 1);
        let why = format!(
            "fewer than {count} of the even ports from {FIRST} to {last} of 127.0.0.1 are free"
        );
        return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_not_given_and_nothing_twice() {
        let first = free(1).unwrap()[0];
        // The next ones are most likely those that follow: one of them is taken.
        let port = FIRST + (first.port() - FIRST + STEP) % (STEP * COUNT);
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let next = free(3).unwrap();
        assert!(!next.contains(&first));
        if let Ok(taken) = taken {
            assert!(!next.contains(&taken.local_addr().unwrap()));
        }
        assert!(next.iter().all(|it| (FIRST..FIRST + STEP * COUNT).contains(&it.port())));
        assert_eq!(next.len(), 3);
    }
}
