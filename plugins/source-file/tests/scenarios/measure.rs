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
