//! How a program file starts: its ELF headers, elf(5), or the first line of a script.
//!
//! The bytes are untrusted: every offset and length is checked and bounded. Files that this machine would not
//! start in a jail, such as 32-bit and foreign programs, count as [`Form::Other`].

/// Reads at an offset: returns exactly as many bytes as requested, or `None`.
pub type Read<'a> = &'a dyn Fn(u64, usize) -> Option<Vec<u8>>;

/// The form of a file that may be started or loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A program or library for this machine: 64 bits, little endian, x86-64.
    Elf(Box<Elf>),
    /// The interpreter's path, as written.
    Script(Vec<u8>),
    /// Any other file, an invalid one, or one that cannot be read.
    Other,
}

/// The parts of an ELF file that the loader reads, ld.so(8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elf {
    /// The path of the dynamic loader, as written (`PT_INTERP`); `None` in static programs and most
    /// libraries.
    pub loader: Option<Vec<u8>>,
    /// The names of the libraries to load, as written and in order (`DT_NEEDED`).
    pub needed: Vec<Vec<u8>>,
    /// `DT_RPATH`: directories separated by colons, as written.
    pub rpath: Option<Vec<u8>>,
    /// `DT_RUNPATH`: directories separated by colons, as written.
    pub runpath: Option<Vec<u8>>,
    /// The file is a program and not a library.
    pub program: bool,
}

/// Program headers, dynamic entries and bytes of a name, at most. A valid file has fewer.
const MOST_HEADERS: usize = 256;
const MOST_ENTRIES: usize = 4096;
const LONGEST_NAME: usize = 4096;

// elf.h
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_PIE: u64 = 0x0800_0000;
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const ENTRY: usize = 16;

/// Returns the form of the file that `read` reads.
pub fn form(read: Read) -> Form {
    if read(0, 2).as_deref() == Some(b"#!") {
        return script(read).map_or(Form::Other, Form::Script);
    }
    elf(read).map_or(Form::Other, |elf| Form::Elf(Box::new(elf)))
}

/// The kernel reads only the first 256 bytes (`BINPRM_BUF_SIZE`), execve(2).
fn script(read: Read) -> Option<Vec<u8>> {
    let line = prefix(read, 2, 254);
    let line = line.split(|b| *b == b'\n').next()?;
    let mut words = line.split(|b| matches!(b, b' ' | b'\t' | 0));
    words.find(|word| !word.is_empty()).map(<[u8]>::to_vec)
}

fn elf(read: Read) -> Option<Elf> {
    let header = read(0, HEADER)?;
    // Class 2: 64 bits. Data 1: little endian.
    if !header.starts_with(b"\x7fELF\x02\x01") || u16_at(&header, 18)? != EM_X86_64 {
        return None;
    }
    let kind = u16_at(&header, 16)?;
    if !matches!(kind, ET_EXEC | ET_DYN) || usize::from(u16_at(&header, 54)?) != PROGRAM_HEADER {
        return None;
    }
    let (table, count) = (u64_at(&header, 32)?, usize::from(u16_at(&header, 56)?));
    if count > MOST_HEADERS {
        return None;
    }
    let table = read(table, count * PROGRAM_HEADER)?;
    let segments: Vec<Segment> = table
        .chunks_exact(PROGRAM_HEADER)
        .filter_map(Segment::parse)
        .collect();
    let mut elf = Elf {
        program: kind == ET_EXEC,
        ..Elf::default()
    };
    if let Some(segment) = segments.iter().find(|s| s.kind == PT_INTERP) {
        let name = read(
            segment.offset,
            usize::try_from(segment.size).ok()?.min(LONGEST_NAME),
        )?;
        elf.loader = Some(until_nul(&name).to_vec());
        elf.program = true;
    }
    if let Some(segment) = segments.iter().find(|s| s.kind == PT_DYNAMIC) {
        dynamic(read, segment, &segments, &mut elf)?;
    }
    Some(elf)
}

fn dynamic(read: Read, segment: &Segment, all: &[Segment], elf: &mut Elf) -> Option<()> {
    let size = usize::try_from(segment.size).ok()?;
    let bytes = read(segment.offset, size.min(MOST_ENTRIES * ENTRY))?;
    let entries: Vec<(u64, u64)> = bytes
        .chunks_exact(ENTRY)
        .filter_map(|entry| Some((u64_at(entry, 0)?, u64_at(entry, 8)?)))
        .take_while(|(tag, _)| *tag != 0)
        .collect();
    let value = |tag| entries.iter().find(|(t, _)| *t == tag).map(|(_, v)| *v);
    elf.program |= value(DT_FLAGS_1).is_some_and(|flags| flags & DF_1_PIE != 0);
    let Some(strings) = value(DT_STRTAB) else {
        return Some(());
    };
    // This is an address: the segment loaded there gives the offset in the file.
    let strings = all
        .iter()
        .find_map(|s| s.offset_of(strings).filter(|_| s.kind == PT_LOAD))?;
    let name = |at: u64| {
        let bytes = prefix(read, strings.checked_add(at)?, LONGEST_NAME);
        Some(until_nul(&bytes).to_vec()).filter(|name| !name.is_empty())
    };
    let needed = entries.iter().filter(|(tag, _)| *tag == DT_NEEDED);
    elf.needed = needed.filter_map(|(_, at)| name(*at)).collect();
    elf.rpath = value(DT_RPATH).and_then(name);
    elf.runpath = value(DT_RUNPATH).and_then(name);
    Some(())
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

impl Segment {
    fn parse(bytes: &[u8]) -> Option<Segment> {
        Some(Segment {
            kind: u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?),
            offset: u64_at(bytes, 8)?,
            address: u64_at(bytes, 16)?,
            size: u64_at(bytes, 32)?,
        })
    }

    fn offset_of(&self, address: u64) -> Option<u64> {
        let into = address.checked_sub(self.address)?;
        (into < self.size).then(|| self.offset.checked_add(into))?
    }
}

/// The paths of `name` in the cache that ldconfig(8) writes. Returns every entry, because the loader's choice
/// depends on the processor.
pub fn cached(cache: &[u8], name: &[u8]) -> Vec<Vec<u8>> {
    // glibc, dl-cache.h: `struct cache_file_new` and `file_entry_new`.
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    const HEAD: usize = 48;
    const ROW: usize = 24;
    let Some(at) = cache.windows(MAGIC.len()).position(|w| w == MAGIC) else {
        return vec![];
    };
    let cache = &cache[at..];
    let word = |at: usize| {
        let bytes = cache.get(at..at.checked_add(4)?)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let text = |at: usize| Some(until_nul(cache.get(word(at)?..)?));
    let count = word(MAGIC.len()).unwrap_or(0).min(cache.len() / ROW);
    (0..count)
        .map(|row| HEAD + row * ROW)
        .filter(|row| text(row + 4) == Some(name))
        .filter_map(|row| text(row + 8).map(<[u8]>::to_vec))
        .collect()
}

/// Reads up to `most` bytes, fewer at the end of the file.
fn prefix(read: Read, at: u64, most: usize) -> Vec<u8> {
    let mut bytes = vec![];
    let mut step = most;
    while step > 0 && bytes.len() < most {
        let end = at.checked_add(bytes.len() as u64);
        match end.and_then(|end| read(end, step.min(most - bytes.len()))) {
            Some(more) => bytes.extend(more),
            None => step /= 2,
        }
    }
    bytes
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Form {
        form(&|at, length| {
            let at = usize::try_from(at).ok()?;
            Some(bytes.get(at..at.checked_add(length)?)?.to_vec())
        })
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let script = |text: &str| Form::Script(text.as_bytes().to_vec());
        assert_eq!(of(b"#!/bin/sh\necho"), script("/bin/sh"));
        assert_eq!(of(b"#! \t/usr/bin/env python3"), script("/usr/bin/env"));
        assert_eq!(of(b"#!\n/bin/sh"), Form::Other);
        assert_eq!(of(b""), Form::Other);
        assert_eq!(of(b"plain text"), Form::Other);
    }

    /// This test itself is a program; the shell is one with libraries.
    #[test]
    fn programs_of_this_machine_are_read() {
        let Form::Elf(own) = of(&std::fs::read("/proc/self/exe").unwrap()) else {
            panic!("the test is no ELF program");
        };
        assert!(own.program);
        let Form::Elf(shell) = of(&std::fs::read("/bin/sh").unwrap()) else {
            panic!("the shell is no ELF program");
        };
        assert!(shell.program && shell.loader.is_some(), "{shell:?}");
        let names: Vec<_> = shell
            .needed
            .iter()
            .map(|n| String::from_utf8_lossy(n))
            .collect();
        assert!(names.iter().any(|n| n.starts_with("libc.")), "{names:?}");
    }

    #[test]
    fn no_cut_and_no_flipped_byte_makes_it_panic() {
        let whole = std::fs::read("/bin/sh").unwrap();
        let head = &whole[..whole.len().min(4096)];
        for length in 0..head.len() {
            of(&head[..length]);
        }
        for at in 0..1024.min(whole.len()) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            of(&bytes);
        }
        cached(head, b"libc.so.6");
        if let Ok(cache) = std::fs::read("/etc/ld.so.cache") {
            assert!(!cached(&cache, b"libc.so.6").is_empty());
            for at in 0..256 {
                let mut bytes = cache[..4096.min(cache.len())].to_vec();
                bytes[at] ^= 0xff;
                cached(&bytes, b"libc.so.6");
            }
        }
    }
}
