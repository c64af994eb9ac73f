//! A child of this process.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Longest time that a child may take: only a defect takes so long.
const LONGEST: Duration = Duration::from_secs(300);

/// Runs `work` in a child that is forked now, and returns what it answered. Only the thread that
/// calls this goes on in the child.
pub(crate) fn forked(work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let (mut answer, mut says) = pipe();
    // SAFETY: the child runs on in this program's memory, with one thread. It calls only what the
    // store promises for a child, allocates through an allocator that survives a fork, and ends by
    // `_exit`, so that nothing of the parent's is run at its end.
    match unsafe { libc::fork() } {
        -1 => Err(format!("fork: {}", std::io::Error::last_os_error())),
        0 => {
            let done = catch_unwind(AssertUnwindSafe(work));
            let said = done.unwrap_or_else(|_| Err("the child panicked".into()));
            let is_said = says.write_all(said.err().unwrap_or_default().as_bytes()).is_ok();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!is_said)) }
        }
        child => {
            drop(says);
            let status = wait(child)?;
            let mut said = String::new();
            answer.read_to_string(&mut said).map_err(|error| error.to_string())?;
            match (status, &said[..]) {
                (0, "") => Ok(()),
                (_, "") => Err(format!("the child ended with the status {status}")),
                _ => Err(said),
            }
        }
    }
}

fn pipe() -> (File, File) {
    let (read, write) = std::io::pipe().expect("a pipe");
    // SAFETY: each descriptor is given on by its only owner.
    unsafe { (File::from_raw_fd(read.into_raw_fd()), File::from_raw_fd(write.into_raw_fd())) }
}

/// Waits for the end of a child. One that takes too long is ended.
fn wait(child: libc::pid_t) -> Result<i32, String> {
    let started = Instant::now();
    let mut status = 0;
    loop {
        // SAFETY: waits for this process's own child; the status lives.
        match unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } {
            0 if started.elapsed() < LONGEST => std::thread::sleep(Duration::from_millis(5)),
            0 => {
                // SAFETY: ends this process's own child, and waits for it.
                unsafe {
                    libc::kill(child, libc::SIGKILL);
                    libc::waitpid(child, &raw mut status, 0);
                }
                return Err("the child hangs".into());
            }
            ended if ended == child => return Ok(status),
            _ => return Err(format!("waitpid: {}", std::io::Error::last_os_error())),
        }
    }
}
