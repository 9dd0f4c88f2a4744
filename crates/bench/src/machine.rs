//! On what was measured: a number without its machine says nothing.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use lifeboat_model::ByteSize;
use serde::Serialize;

/// Processor features that decide about the speed of a backup.
const FEATURES: [&str; 5] = ["sha_ni", "aes", "vaes", "avx2", "avx512f"];

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor, as it names itself.
    pub processor: String,
    /// Its features that matter here.
    pub features: Vec<String>,
    /// How many cores this process may use.
    pub cores: usize,
    /// The memory.
    pub memory_bytes: u64,
    /// The kernel.
    pub kernel: String,
    /// The file system that everything lay on.
    pub file_system: String,
}

impl Machine {
    /// Looks at this machine; what cannot be found out is `unknown`.
    pub fn look(directory: &Path) -> Self {
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = field(&processor, "flags").unwrap_or_default();
        let flags: Vec<_> = flags.split_whitespace().collect();
        let features = FEATURES.iter().filter(|feature| flags.contains(*feature));
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: field(&processor, "model name").unwrap_or("unknown").to_owned(),
            features: features.map(|feature| (*feature).to_owned()).collect(),
            cores: available_parallelism().map_or(1, usize::from),
            memory_bytes: memory("MemTotal"),
            kernel: kernel.trim().to_owned(),
            file_system: file_system(&mounts, directory).unwrap_or("unknown").to_owned(),
        }
    }

    /// Describes the machine in a line.
    pub fn line(&self) -> String {
        format!(
            "{}, {} cores ({}), {} of memory, Linux {}, everything on {}",
            self.processor,
            self.cores,
            self.features.join(", "),
            ByteSize(self.memory_bytes),
            self.kernel,
            self.file_system
        )
    }
}

/// Returns an entry of the kernel's memory statistics in bytes; 0 if it has no such entry.
pub fn memory(entry: &str) -> u64 {
    memory_in("/proc/meminfo", entry)
}

/// Returns an entry of the kernel's statistics of this process in bytes, such as `RssAnon`; 0 if it
/// has no such entry.
pub fn own_memory(entry: &str) -> u64 {
    memory_in("/proc/self/status", entry)
}

fn memory_in(statistics: &str, entry: &str) -> u64 {
    let text = fs::read_to_string(statistics).unwrap_or_default();
    let kib = field(&text, entry).and_then(|value| value.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0_u64) << 10
}

/// Finds the value in the first line `name : value`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// Finds the kind of the file system that `directory` lies on: that of the longest mount point.
fn file_system<'m>(mounts: &'m str, directory: &Path) -> Option<&'m str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((Path::new(words.next()?), words.next()?))
    });
    mounts
        .filter(|(point, _)| directory.starts_with(point))
        .max_by_key(|(point, _)| point.as_os_str().len())
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_counts() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/dev/shm/x")), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/dev/shmx")), Some("ext4"));
    }

    #[test]
    fn this_machine_has_a_name_and_memory() {
        let machine = Machine::look(Path::new("/"));
        assert!(machine.cores > 0 && machine.memory_bytes > 1 << 20, "{machine:?}");
        assert!(!machine.kernel.is_empty());
        assert_eq!(memory("NoSuchEntry"), 0);
        assert!(own_memory("RssAnon") > 0 && own_memory("VmHWM") >= own_memory("RssAnon"));
    }
}
