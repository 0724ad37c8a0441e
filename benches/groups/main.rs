//! Generator of what waits: members of groups and long polls, each on a connection of its own, in
//! numbers that no client library reaches on a small machine.
//!
//! `groups form` joins members of classic groups and prints how long it took until every group had
//! all its members in one generation; with `--window` they stay, heartbeating, and with `--pid` the
//! broker's CPU over that window is printed. `groups polls` holds long polls on an empty partition.
//! One JSON line goes to standard output.

#[path = "../load/cpu.rs"]
mod cpu;
mod link;
mod member;
mod polls;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, timeout};

use member::{Formation, Member};

#[derive(Parser)]
#[command(name = "groups")]
struct Options {
    #[command(subcommand)]
    work: Work,
    /// HOST:PORT of the broker.
    #[arg(long, default_value = "127.0.0.1:9092", global = true)]
    target: String,
    /// The broker's process.
    #[arg(long, global = true)]
    pid: Option<u32>,
    /// Seconds over which the broker's CPU is measured; 0 ends before.
    #[arg(long, default_value_t = 0, global = true)]
    window: u64,
}

#[derive(Subcommand)]
enum Work {
    /// Members join groups and stay.
    Form(Form),
    /// Connections hold fetches on a partition that stays empty.
    Polls {
        #[arg(long, default_value_t = 1000)]
        connections: usize,
        /// `max_wait_ms` of a fetch; 500 is what clients ask by default.
        #[arg(long, default_value_t = 500)]
        max_wait_ms: i32,
    },
}

#[derive(Args)]
struct Form {
    #[arg(long, default_value_t = 1)]
    groups: usize,
    /// Members of each group.
    #[arg(long, default_value_t = 1000)]
    members: usize,
    /// 3000 is what clients do by default.
    #[arg(long, default_value_t = 3000)]
    heartbeat_ms: u64,
    #[arg(long, default_value_t = 45_000)]
    session_timeout_ms: i32,
    /// Seconds after which the groups have failed to form.
    #[arg(long, default_value_t = 120)]
    deadline: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    // `cargo bench` adds a flag of its own.
    let options = Options::parse_from(std::env::args().filter(|word| word != "--bench"));
    let mut work = JoinSet::new();
    let mut figures = serde_json::Map::new();
    match &options.work {
        Work::Form(form) => {
            let took = form_groups(form, &options.target, &mut work).await?;
            figures.insert("formed_s".to_owned(), took.as_secs_f64().into());
        }
        Work::Polls { connections, max_wait_ms } => {
            polls::start(&options.target, *connections, *max_wait_ms, &mut work).await?;
        }
    }
    if options.window > 0 {
        let cores = cores_over(Duration::from_secs(options.window), options.pid, &mut work).await?;
        figures.insert("cores".to_owned(), cores.into());
    }
    work.shutdown().await;
    writeln!(io::stdout(), "{}", serde_json::Value::Object(figures))
}

/// Joins all members at once; returns how long it took until the last group was whole.
async fn form_groups(
    form: &Form,
    target: &str,
    work: &mut JoinSet<io::Result<()>>,
) -> io::Result<Duration> {
    member::find_coordinators(target, form.groups).await?;
    let formation = Arc::new(Formation::new(form.groups, form.members));
    // Connections are made first: what is measured is the forming of groups.
    let mut members = Vec::with_capacity(form.groups * form.members);
    for number in 0..form.groups * form.members {
        let link = link::Link::connect(target).await?;
        members.push(Member::new(link, number % form.groups, form, formation.clone()));
    }
    let began = Instant::now();
    for member in members {
        work.spawn(member.live());
    }
    let whole = formation.whole();
    tokio::pin!(whole);
    let deadline = Duration::from_secs(form.deadline);
    let formed = timeout(deadline, async {
        tokio::select! {
            () = &mut whole => Ok(()),
            ended = work.join_next() => Err(failure(ended)),
        }
    });
    match formed.await {
        Ok(done) => done.map(|()| began.elapsed()),
        Err(_) => Err(io::Error::other(format!("not formed within {deadline:?}: {formation}"))),
    }
}

/// Lets the work go on and returns the cores that the broker took meanwhile.
async fn cores_over(
    window: Duration,
    pid: Option<u32>,
    work: &mut JoinSet<io::Result<()>>,
) -> io::Result<Option<f64>> {
    let used = || pid.and_then(cpu::cpu_seconds);
    let mut end = interval_at(Instant::now() + window, window);
    let (before, began) = (used(), Instant::now());
    tokio::select! {
        _ = end.tick() => {}
        ended = work.join_next() => return Err(failure(ended)),
    }
    let spent = used().zip(before).map(|(after, before)| after - before);
    Ok(spent.map(|seconds| seconds / began.elapsed().as_secs_f64()))
}

/// What a member or poll that ended by itself says; none of them should.
fn failure(ended: Option<Result<io::Result<()>, tokio::task::JoinError>>) -> io::Error {
    match ended {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => io::Error::other(error),
        Some(Ok(Ok(()))) | None => io::Error::other("the work ended by itself"),
    }
}
