//! A directory as one small file: sled's files are mostly zeros, which are left out.
#![allow(dead_code, unreachable_pub)] // Each test binary uses its part.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

/// Fewer zeros in a row than this are written as they are.
const RUN: usize = 32;

/// The files of a directory, by paths relative to it, sorted.
pub type Files = Vec<(String, Vec<u8>)>;

pub fn read(dir: &Path) -> Files {
    let mut files = Vec::new();
    gather(dir, dir, &mut files);
    files.sort();
    files
}

fn gather(root: &Path, dir: &Path, files: &mut Files) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.push((name, fs::read(&path).unwrap()));
        }
    }
}

pub fn write(dir: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Each file as a line of its name, a line of its length, and for each stretch that isn't zeros
/// a line of its place and length, and its bytes.
pub fn pack(files: &Files) -> Vec<u8> {
    let mut packed = Vec::new();
    for (name, bytes) in files {
        let stretches = stretches(bytes);
        packed.extend(format!("{name}\n{} {}\n", bytes.len(), stretches.len()).bytes());
        for (at, stretch) in stretches {
            packed.extend(format!("{at} {}\n", stretch.len()).bytes());
            packed.extend(stretch);
            packed.push(b'\n');
        }
    }
    packed
}

pub fn unpack(mut packed: &[u8]) -> Files {
    let mut files = Files::new();
    while !packed.is_empty() {
        let name = line(&mut packed).to_owned();
        let (len, stretches) = numbers(&mut packed);
        let mut bytes = vec![0; len];
        for _ in 0..stretches {
            let (at, len) = numbers(&mut packed);
            bytes[at..at + len].copy_from_slice(&packed[..len]);
            packed = &packed[len + 1..];
        }
        files.push((name, bytes));
    }
    files
}

fn line<'a>(packed: &mut &'a [u8]) -> &'a str {
    let end = packed.iter().position(|byte| *byte == b'\n').unwrap();
    let line = std::str::from_utf8(&packed[..end]).unwrap();
    *packed = &packed[end + 1..];
    line
}

fn numbers(packed: &mut &[u8]) -> (usize, usize) {
    let (a, b) = line(packed).split_once(' ').unwrap();
    (a.parse().unwrap(), b.parse().unwrap())
}

fn stretches(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = bytes[at..].iter().position(|byte| *byte != 0).map(|skip| at + skip) {
        let zeros = |window: &[u8]| window.iter().all(|byte| *byte == 0);
        let len = bytes[start..].windows(RUN).position(zeros).unwrap_or(bytes.len() - start);
        found.push((start, &bytes[start..start + len]));
        at = start + len;
    }
    found
}
