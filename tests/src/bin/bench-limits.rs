//! Counts many keys against one limit, and says what memory and what time it took.
//!
//! `bench-limits [KEYS]`: so many addresses, each its own /64 network (a million unless given), once each.

use std::{
    fs,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Instant,
};

use gateway::rate_limit::{RateLimit, config::LimitConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let keys: u64 = std::env::args().nth(1).map_or(1_000_000, |keys| keys.parse().expect("a number of keys"));
    let typed = serde_json::json!({ "rate": "100/h", "burst": 10, "by": "address" });
    let config: LimitConfig = serde_json::from_value(typed).expect("a limit");
    let limit = RateLimit::build("bench", &config, "", None, Arc::default()).expect("a limit");
    let (before, begun, mut let_in, mut most) = (resident(), Instant::now(), 0_u64, 0);
    for key in 0..keys {
        let address = IpAddr::V6(Ipv6Addr::from_bits(u128::from(0x2001_0db8_0000_0000 + key) << 64));
        let_in += u64::from(limit.check(address, None).await.is_ok());
        if key % 10_000 == 0 {
            most = most.max(resident());
        }
    }
    let nanos = begun.elapsed().as_nanos() as u64 / keys.max(1);
    println!("keys: {keys}\nlet in: {let_in}\nnanoseconds each: {nanos}");
    println!("grew by KiB: {}", most.max(resident()).saturating_sub(before));
}

/// KiB of the process in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line for it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
