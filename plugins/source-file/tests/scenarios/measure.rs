//! What following costs while nothing happens.

use std::fs;
use std::time::{Duration, Instant};

use super::rig::{Rig, lines};

/// `cargo test --release -p source-file --test scenarios -- --ignored --nocapture measure`
#[tokio::test]
#[ignore = "a measurement"]
async fn the_share_of_a_core_that_following_1000_quiet_files_takes() {
    let mut rig = Rig::new([]);
    for number in 0..1000 {
        rig.write(&format!("{number}.log"), lines(&number.to_string(), 10));
        let file = fs::File::options().append(true).open(rig.path(&format!("{number}.log"))).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
    }
    rig.start().await;
    rig.read_some(usize::MAX).await;
    rig.deliver().await;
    let (started, cpu_before) = (Instant::now(), cpu_ticks());
    let mut looks = 0;
    while started.elapsed() < Duration::from_secs(10) {
        looks += 1;
        tokio::time::sleep(rig.idle().await).await;
    }
    let seconds = (cpu_ticks() - cpu_before) as f64 / 100.0;
    let share = seconds / started.elapsed().as_secs_f64() * 100.0;
    eprintln!(
        "1000 quiet files, poll_interval 250 ms: {share:.2} % of a core, {:.2} ms a look",
        seconds * 1e3 / looks as f64
    );
}

/// User and system time of this process, in hundredths of a second.
fn cpu_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split(' ').collect();
    fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
}

/// `cargo test -p source-file --test scenarios -- --ignored --nocapture nanoseconds_per`
#[tokio::test]
#[ignore = "a measurement"]
async fn the_nanoseconds_per_line_that_reading_takes() {
    let line = "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK\n";
    let rig = Rig::new([]);
    rig.write("a.log", line.repeat(1_000_000));
    for _ in 0..7 {
        let mut source = rig.build().unwrap();
        let mut cx = rig.cx();
        source.start(&mut cx).await.unwrap();
        let (started, cpu_before, mut rows, mut batches) = (Instant::now(), cpu_ticks(), 0, 0);
        while rows < 1_000_000 {
            if let Ok(flowstone_core::Next::Batch(read)) = source.next(&mut cx).await {
                rows += read.batch.len();
                batches += 1;
            }
        }
        let nanos = started.elapsed().as_nanos() as f64 / rows as f64;
        let cpu = (cpu_ticks() - cpu_before) as f64 * 1e7 / rows as f64;
        eprintln!("{batches} batches: {nanos:.0} ns per line, {cpu:.0} ns of CPU");
    }
}
