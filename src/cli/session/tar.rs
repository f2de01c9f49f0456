//! The tar format: ustar with pax records for long names and sizes (POSIX.1-2024, pax), and GNU's long names when it is
//! read. An archive that is read is untrusted: its names and numbers are checked here.
//!
//! By hand, since creel needs two kinds of entries: the crate `tar` also extracts to the host, with ids, times,
//! extended attributes and links, and all of that would have to be kept from running.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// Bytes of a header, and the unit of contents.
const BLOCK: usize = 512;
/// Bytes of a record with a long name. PATH_MAX is 4096.
const LONGEST: u64 = 1 << 20;
/// Bytes after the end of an archive that are read, so that its writer ends well.
const PADDING: u64 = 1 << 20;

/// Why an archive is refused. The names are those of its entries.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("{}: the archive has an absolute name, which is not extracted; make it with relative names", .0.display())]
    Absolute(PathBuf),
    #[error("{}: the archive has a name with `..`, which is not extracted", .0.display())]
    Above(PathBuf),
    #[error("{}: the archive has {what}, and only files and directories are extracted", path.display())]
    Kind { path: PathBuf, what: &'static str },
    #[error("{}: a long name or a record of the archive has {size} bytes, more than {LONGEST}", path.display())]
    Record { path: PathBuf, size: u64 },
    #[error(
        "the stream is no tar archive: {0}; one that is compressed goes through gunzip or the like first"
    )]
    Form(&'static str),
    #[error("{}", truncated(.0))]
    Truncated(PathBuf),
    #[error("the archive: {0}")]
    Io(#[from] io::Error),
}

fn truncated(last: &Path) -> String {
    match last.as_os_str().is_empty() {
        true => "the archive is empty, or compressed: a tar archive has at least two blocks of zeros, and a compressed one goes through gunzip or the like first".into(),
        false => format!(
            "the archive ends early; nothing after {} was extracted",
            last.display()
        ),
    }
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    SymbolicLink,
}

/// An entry of an archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative, of plain names alone; empty for the directory itself.
    pub path: PathBuf,
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Permission bits, without those for set-id.
    pub mode: u32,
}

/// Reads an archive.
pub struct Reader<R> {
    source: R,
    /// Bytes of the present entry that are not read yet, and those that fill its last block.
    rest: u64,
    padding: u64,
    last: PathBuf,
}

impl<R: Read> Reader<R> {
    pub fn new(source: R) -> Reader<R> {
        Reader {
            source,
            rest: 0,
            padding: 0,
            last: PathBuf::new(),
        }
    }

    /// The next entry; `None` at the end of the archive.
    pub fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let (mut path, mut size) = (None, None);
        loop {
            self.skip()?;
            let mut block = [0; BLOCK];
            self.read_whole(&mut block)?;
            if block == [0; BLOCK] {
                io::copy(&mut (&mut self.source).take(PADDING), &mut io::sink())?;
                return Ok(None);
            }
            let header = Header(&block);
            header.check()?;
            let own = header.number(124..136)?;
            match block[156] {
                b'x' => {
                    let record = self.record(header.path(), own)?;
                    let found = pax(&record)?;
                    path = found.0.or(path);
                    size = found.1.or(size);
                }
                b'L' => {
                    let mut record = self.record(header.path(), own)?;
                    record.truncate(record.iter().position(|b| *b == 0).unwrap_or(record.len()));
                    path = Some(PathBuf::from(OsStr::from_bytes(&record)));
                }
                // Records for all entries, and the targets of links, which are not extracted.
                b'g' | b'K' => drop(self.record(header.path(), own)?),
                kind => {
                    let named = path.unwrap_or_else(|| header.path());
                    let size = size.unwrap_or(own);
                    let is_directory = named.as_os_str().as_bytes().ends_with(b"/");
                    let kind = match kind {
                        b'5' => Kind::Directory,
                        b'0' | 0 if is_directory => Kind::Directory,
                        b'0' | 0 | b'7' => Kind::File,
                        b'2' => Kind::SymbolicLink,
                        other => {
                            let what = match other {
                                b'1' => "a hard link",
                                b'3' | b'4' => "a device",
                                b'6' => "a FIFO",
                                _ => "an entry of another kind",
                            };
                            return Err(TarError::Kind { path: named, what });
                        }
                    };
                    let path = plain(&named)?;
                    self.last.clone_from(&path);
                    if kind == Kind::File {
                        self.begin(size);
                    }
                    let mode = header.number(100..108)? as u32 & 0o777;
                    return Ok(Some(Entry {
                        path,
                        kind,
                        size: if kind == Kind::File { size } else { 0 },
                        mode,
                    }));
                }
            }
        }
    }

    /// Copies the contents of the present entry.
    pub fn contents(&mut self, to: &mut impl Write) -> Result<(), TarError> {
        let copied = io::copy(&mut (&mut self.source).take(self.rest), to)?;
        self.rest -= copied;
        match self.rest {
            0 => Ok(()),
            _ => Err(TarError::Truncated(self.last.clone())),
        }
    }

    fn begin(&mut self, size: u64) {
        self.rest = size;
        self.padding = padding(size);
    }

    fn skip(&mut self) -> Result<(), TarError> {
        self.contents(&mut io::sink())?;
        self.rest = std::mem::take(&mut self.padding);
        self.contents(&mut io::sink())
    }

    fn read_whole(&mut self, bytes: &mut [u8]) -> Result<(), TarError> {
        self.source
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => TarError::Truncated(self.last.clone()),
                _ => error.into(),
            })
    }

    fn record(&mut self, path: PathBuf, size: u64) -> Result<Vec<u8>, TarError> {
        if size > LONGEST {
            return Err(TarError::Record { path, size });
        }
        self.begin(size);
        let mut record = vec![];
        self.contents(&mut record)?;
        Ok(record)
    }
}

struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    /// The sum of all bytes, with spaces in the place of the sum.
    fn sum(&self) -> u64 {
        let bytes = self.0.iter().enumerate();
        bytes
            .map(|(at, byte)| {
                u64::from(if (148..156).contains(&at) {
                    b' '
                } else {
                    *byte
                })
            })
            .sum()
    }

    fn check(&self) -> Result<(), TarError> {
        match self.number(148..156)? == self.sum() {
            true => Ok(()),
            false => Err(TarError::Form("the sum of a header is wrong")),
        }
    }

    fn text(&self, at: std::ops::Range<usize>) -> &[u8] {
        let bytes = self.0.get(at).unwrap_or_default();
        bytes.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn path(&self) -> PathBuf {
        let name = Path::new(OsStr::from_bytes(self.text(0..100)));
        match self.text(345..500) {
            prefix if !prefix.is_empty() && self.0.get(257..263) == Some(b"ustar\0") => {
                // Joined as text: the name decides whether the path is absolute.
                let path = [prefix, b"/", name.as_os_str().as_bytes()].concat();
                PathBuf::from(OsStr::from_bytes(&path))
            }
            _ => name.into(),
        }
    }

    /// Octal digits, or GNU's big-endian number after a byte 0x80.
    fn number(&self, at: std::ops::Range<usize>) -> Result<u64, TarError> {
        let wrong = || TarError::Form("a number of a header is wrong");
        let bytes = self.0.get(at).unwrap_or_default();
        if let Some((0x80, digits)) = bytes.split_first() {
            return digits
                .iter()
                .try_fold(0u64, |sum, digit| {
                    Some(sum.checked_mul(256)? + u64::from(*digit))
                })
                .ok_or_else(wrong);
        }
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| wrong())?.trim();
        match text.is_empty() {
            true => Ok(0),
            false => u64::from_str_radix(text, 8).map_err(|_| wrong()),
        }
    }
}

/// The path and the size of pax records: `LENGTH KEY=VALUE\n` each, the length that of the whole record.
fn pax(mut records: &[u8]) -> Result<(Option<PathBuf>, Option<u64>), TarError> {
    let wrong = || TarError::Form("a pax record is wrong");
    let (mut path, mut size) = (None, None);
    while !records.is_empty() {
        let space = records.iter().position(|b| *b == b' ').ok_or_else(wrong)?;
        let digits = std::str::from_utf8(&records[..space]).map_err(|_| wrong())?;
        let length: usize = digits.parse().map_err(|_| wrong())?;
        let (record, rest) = records.split_at_checked(length).ok_or_else(wrong)?;
        let record = record
            .get(space + 1..)
            .and_then(|r| r.strip_suffix(b"\n"))
            .ok_or_else(wrong)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(wrong)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" => path = Some(PathBuf::from(OsStr::from_bytes(value))),
            b"size" => {
                let text = std::str::from_utf8(value).map_err(|_| wrong())?;
                size = Some(text.parse().map_err(|_| wrong())?);
            }
            key if key.starts_with(b"GNU.sparse") => {
                return Err(TarError::Form(
                    "it has sparse files; make it without --sparse",
                ));
            }
            _ => {}
        }
        records = rest;
    }
    Ok((path, size))
}

/// Bytes that fill the last block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// A name that stays in its directory.
fn plain(path: &Path) -> Result<PathBuf, TarError> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) if !name.as_bytes().contains(&0) => plain.push(name),
            Component::Normal(_) => return Err(TarError::Form("a name has a byte of value 0")),
            Component::CurDir => {}
            Component::ParentDir => return Err(TarError::Above(path.into())),
            Component::RootDir | Component::Prefix(_) => {
                return Err(TarError::Absolute(path.into()));
            }
        }
    }
    Ok(plain)
}

/// Writes an archive.
pub struct Writer<W: Write>(pub W);

impl<W: Write> Writer<W> {
    /// Writes the header of an entry; its contents follow, for a file.
    pub fn begin(&mut self, entry: &Entry, modified: i64) -> io::Result<()> {
        let name = entry.path.as_os_str().as_bytes();
        let mut records = vec![];
        if name.len() > 100 {
            records.extend(record(b"path", name));
        }
        if entry.size >= 1 << 33 {
            records.extend(record(b"size", entry.size.to_string().as_bytes()));
        }
        if !records.is_empty() {
            let size = records.len() as u64;
            self.0.write_all(&header(b"pax", b'x', size, 0o644, 0))?;
            self.0.write_all(&records)?;
            self.fill(size)?;
        }
        let kind = match entry.kind {
            Kind::File => b'0',
            Kind::Directory => b'5',
            Kind::SymbolicLink => b'2',
        };
        let short = name.get(..100).unwrap_or(name);
        self.0
            .write_all(&header(short, kind, entry.size, entry.mode, modified))
    }

    /// Copies the contents of a file, which must have as many bytes as its header says.
    pub fn contents(&mut self, from: impl Read, size: u64) -> io::Result<()> {
        let copied = io::copy(&mut from.take(size), &mut self.0)?;
        match copied == size {
            true => self.fill(size),
            false => Err(io::Error::other("it became shorter while it was copied")),
        }
    }

    /// Writes the end of the archive.
    pub fn finish(mut self) -> io::Result<()> {
        self.0.write_all(&[0; 2 * BLOCK])?;
        self.0.flush()
    }

    fn fill(&mut self, size: u64) -> io::Result<()> {
        self.0.write_all(&[0; BLOCK][..padding(size) as usize])
    }
}

fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    // The length counts its own digits.
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length += 1;
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn header(name: &[u8], kind: u8, size: u64, mode: u32, modified: i64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        for (place, byte) in block.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    };
    let modified = u64::try_from(modified).unwrap_or(0) & ((1 << 33) - 1);
    // A larger size is in a pax record.
    let size = size & ((1 << 33) - 1);
    put(0, name);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{modified:011o}").as_bytes());
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum = Header(&block).sum();
    for (place, byte) in block
        .iter_mut()
        .skip(148)
        .zip(format!("{sum:06o}\0 ").bytes())
    {
        *place = byte;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, Kind, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![];
        let mut writer = Writer(&mut bytes);
        for (path, kind, contents) in entries {
            let size = contents.len() as u64;
            let (path, kind) = (PathBuf::from(path), *kind);
            let entry = Entry {
                path,
                kind,
                size,
                mode: 0o640,
            };
            writer.begin(&entry, 7).unwrap();
            writer.contents(*contents, size).unwrap();
        }
        writer.finish().unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, Kind, Vec<u8>)>, TarError> {
        let mut reader = Reader::new(bytes);
        let mut all = vec![];
        while let Some(entry) = reader.next()? {
            let mut contents = vec![];
            reader.contents(&mut contents)?;
            all.push((entry.path.display().to_string(), entry.kind, contents));
        }
        Ok(all)
    }

    #[test]
    fn what_is_written_is_read() {
        let long = format!("{}/x", "a".repeat(150));
        let all: [(&str, Kind, &[u8]); 4] = [
            ("d", Kind::Directory, b""),
            ("d/empty", Kind::File, b""),
            (&long, Kind::File, &[7; 512]),
            ("d/f", Kind::File, &[9; 513]),
        ];
        let bytes = archive(&all);
        assert_eq!(bytes.len() % BLOCK, 0);
        let back = read(&bytes).unwrap();
        for (one, other) in all.iter().zip(&back) {
            assert_eq!((one.0, one.1, one.2), (&*other.0, other.1, &*other.2));
        }
        // Wherever it ends, it is told to end early.
        for length in (0..bytes.len() - 2 * BLOCK).step_by(100) {
            assert!(
                matches!(read(&bytes[..length]), Err(TarError::Truncated(_))),
                "{length}"
            );
        }
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for (path, is_refused) in [
            ("a/../../b", true),
            ("..", true),
            ("/etc/passwd", true),
            ("./a//b/.", false),
            ("..a", false),
        ] {
            let read = read(&archive(&[(path, Kind::File, b"x")]));
            assert_eq!(read.is_err(), is_refused, "{path}: {read:?}");
        }
        let long = format!("/{}", "a".repeat(150));
        assert!(matches!(
            read(&archive(&[(&long, Kind::File, b"")])),
            Err(TarError::Absolute(_))
        ));
    }

    #[test]
    fn a_hostile_header_is_an_error() {
        let good = archive(&[("f", Kind::File, b"x")]);
        for (at, byte) in [
            (0, b'g'),
            (124, 0xff),
            (124, b'9'),
            (148, b'x'),
            (156, b'3'),
        ] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            assert!(read(&bytes).is_err(), "{at}");
        }
        let mut block = header(b"f", b'3', 0, 0o600, 0).to_vec();
        assert!(matches!(
            read(&block),
            Err(TarError::Kind {
                what: "a device",
                ..
            })
        ));
        block = header(b"long", b'x', LONGEST + 1, 0o600, 0).to_vec();
        assert!(matches!(read(&block), Err(TarError::Record { .. })));
        for records in [
            "x",
            "99 path=x\n",
            "0 path=x\n",
            "5 a=b",
            "9 size=x\n",
            "3 =\n",
        ] {
            let mut bytes = header(b"p", b'x', records.len() as u64, 0o600, 0).to_vec();
            bytes.extend(records.as_bytes());
            bytes.resize(1024, 0);
            assert!(read(&bytes).is_err(), "{records}");
        }
    }
}
