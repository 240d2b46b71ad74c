//! Fetching weights to a file: what the digest says or nothing, and going on where a transfer was cut off.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use colearn_audit::merges::{EXPORTED, WeightsFolder};
use colearn_contracts::{Digest, Model};
use colearn_net::{Address, Answer, Http, NetError, Trust};
use http_body_util::{BodyExt as _, Limited};
use tokio::time::Instant;

use super::get::Bytes;
use crate::place::Place;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// How long nothing may come.
    nothing: Duration,
    /// How much is to come in the time of a part.
    part_bytes: u64,
    /// How long a part may take, however often the connection breaks: who sends a byte now and then holds nothing
    /// up. What has come by then is kept, and another node is asked for the rest.
    part: Duration,
}

const PATIENCE: Patience = Patience {
    nothing: Duration::from_secs(30),
    part_bytes: 2 << 20,
    part: Duration::from_secs(60),
};
/// How often a transfer goes on without having got further.
const TRIES: u32 = 5;
/// How much is read of a refusal.
const MAX_TOLD_BYTES: usize = 4096;
/// How much is read from a file at once.
const PIECE_BYTES: usize = 1 << 18;
/// How often a part is opened that others put in place meanwhile.
const OPENINGS: u32 = 8;

/// Why there are no weights.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// They are not there.
    #[error(
        "{place} has not got the weights {digest}: a node may have let go of them (--keep-artifacts), and an \
         export has what it was made with (--artifacts); another node, or whoever took part, may have them"
    )]
    Missing {
        /// Where.
        place: String,
        /// Which.
        digest: Digest,
    },
    /// There are none at all.
    #[error(
        "{0} has a ledger and no weights; ask a node, or export with: colearn ledger export --artifacts"
    )]
    NoWeights(String),
    /// Others are there in their place.
    #[error("{place} has other bytes than the ledger says under {digest}; nothing was written")]
    WrongBytes {
        /// Where.
        place: String,
        /// Which they should be.
        digest: Digest,
    },
    /// A server is not reached, or the connection breaks.
    #[error(transparent)]
    Net(#[from] NetError),
    /// It sends, and gets nowhere.
    #[error(
        "{0} sends the weights too slowly; what has come is gone on from when the same is asked again"
    )]
    Slow(String),
    /// The place has a file that cannot be read.
    #[error("cannot read the weights in {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It answers something else.
    #[error("{url} gives no weights: {told}")]
    Answer {
        /// Where.
        url: String,
        /// What it says.
        told: String,
    },
    /// Another process is at it.
    #[error("another process is getting the same to {}", .0.display())]
    Busy(PathBuf),
    /// A file here cannot be read or written, whoever sends what belongs there.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl FetchError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// Whether it may work after a while.
    fn is_transient(&self) -> bool {
        matches!(self, Self::Net(NetError::Unreachable { .. }))
    }
}

/// Fetches a model's weights to a file, from whichever of a place's nodes has them. What is there already is
/// left alone if it is them.
pub(super) fn fetch(
    place: &Place,
    model: &Model,
    out: &Path,
    bytes: Bytes<'_>,
) -> Result<(), FetchError> {
    if has(out, model) {
        return Ok(());
    }
    let mut part = Part::open(out, model)?;
    let fetched = match place.folder() {
        Some(folder) => from_folder(folder, place, &mut part, out, bytes),
        None => from_any_node(place.urls(), place, &mut part, out, bytes, PATIENCE),
    };
    if fetched.is_err() {
        part.tidy();
    }
    fetched
}

fn from_folder(
    folder: &Path,
    place: &Place,
    part: &mut Part<'_>,
    out: &Path,
    bytes: Bytes<'_>,
) -> Result<(), FetchError> {
    let folder = WeightsFolder::beside(folder);
    let folder = folder.ok_or_else(|| FetchError::NoWeights(place.to_string()))?;
    from_file(&folder.file(part.model.digest), place, part, bytes)?;
    match part.put(out)? {
        true => Ok(()),
        false => Err(part.wrong_bytes(&place.to_string())),
    }
}

fn from_any_node(
    urls: &[String],
    place: &Place,
    part: &mut Part<'_>,
    out: &Path,
    bytes: Bytes<'_>,
    patience: Patience,
) -> Result<(), FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(FetchError::io("fetch", &part.path))?;
    let (mut failed, trust) = (part.missing(&place.to_string()), place.trust());
    for url in urls {
        match from_node(&runtime, (url, &trust), part, out, bytes, patience) {
            Ok(()) => return Ok(()),
            // No other node mends what is wrong here.
            Err(error @ FetchError::Io { .. }) => return Err(error),
            // That one has not got them says least.
            Err(error) if matches!(failed, FetchError::Missing { .. }) => failed = error,
            Err(_) => {}
        }
    }
    Err(failed)
}

/// Whether a file is these weights.
fn has(path: &Path, model: &Model) -> bool {
    File::open(path).is_ok_and(|file| {
        let sized = file.metadata().is_ok_and(|it| it.is_file() && it.len() == model.size);
        sized && colearn_merge::digest(&file).is_ok_and(|digest| digest == model.digest.0)
    })
}

fn from_file(
    path: &Path,
    place: &Place,
    part: &mut Part<'_>,
    bytes: Bytes<'_>,
) -> Result<(), FetchError> {
    let unreadable = |source| FetchError::Unreadable { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(part.missing(&place.to_string()));
        }
        Err(error) => return Err(unreadable(error)),
    };
    part.restart()?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece).map_err(unreadable)?;
        if read == 0 {
            return Ok(());
        }
        if !part.take(&piece[..read])? {
            return Err(part.wrong_bytes(&place.to_string()));
        }
        bytes(part.size, part.model.size);
    }
}

fn from_node(
    runtime: &tokio::runtime::Runtime,
    (url, trust): (&str, &Trust),
    part: &mut Part<'_>,
    out: &Path,
    bytes: Bytes<'_>,
    patience: Patience,
) -> Result<(), FetchError> {
    let address: Address = url.parse()?;
    let http = Http::new(&address, trust, patience.nothing)?;
    loop {
        // What an earlier call has kept may be wrong, whatever this node sends.
        let kept = part.size;
        runtime.block_on(transfer(&http, part, bytes, patience))?;
        if part.put(out)? {
            return Ok(());
        }
        if kept == 0 {
            return Err(part.wrong_bytes(url));
        }
    }
}

/// How a transfer gets on. Only what is further than ever counts: a server that knows of no ranges sends the same
/// again after each break.
struct Pace {
    patience: Patience,
    furthest: u64,
    /// How far it is to be by the deadline.
    next: u64,
    deadline: Instant,
}

impl Pace {
    fn new(patience: Patience, size: u64) -> Self {
        let deadline = Instant::now() + patience.part;
        Self { patience, furthest: size, next: size.saturating_add(patience.part_bytes), deadline }
    }

    fn got_to(&mut self, size: u64) {
        self.furthest = self.furthest.max(size);
        if self.furthest >= self.next {
            *self = Self::new(self.patience, self.furthest);
        }
    }
}

/// Transfers what is missing, going on after a break.
async fn transfer(
    http: &Http,
    part: &mut Part<'_>,
    bytes: Bytes<'_>,
    patience: Patience,
) -> Result<(), FetchError> {
    let (mut tries, mut pace) = (0, Pace::new(patience, part.size));
    while part.size < part.model.size {
        let before = pace.furthest;
        let once = transfer_once(http, part, bytes, &mut pace).await;
        match once {
            Ok(()) => {}
            Err(error) if error.is_transient() => {
                tries = if pace.furthest > before { 0 } else { tries + 1 };
                if tries == TRIES {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(50 << tries)).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn transfer_once(
    http: &Http,
    part: &mut Part<'_>,
    bytes: Bytes<'_>,
    pace: &mut Pace,
) -> Result<(), FetchError> {
    let Model { digest, size, .. } = *part.model;
    let (first, last) = (part.size, size - 1);
    let slow = || FetchError::Slow(http.address().url().to_owned());
    let path = format!("/{EXPORTED}/{digest}");
    let answer = tokio::time::timeout_at(pace.deadline, http.get_range(&path, first, last)).await;
    let answer = answer.map_err(|_| slow())??;
    let range = answer.headers().get("content-range").and_then(|it| it.to_str().ok());
    let url = || http.address().url().to_owned();
    match answer.status().as_u16() {
        206 if range == Some(&format!("bytes {first}-{last}/{size}")) => {}
        // It has as many as it says, and others than these.
        206 | 416 => return Err(part.wrong_bytes(&url())),
        // Web servers may know of no ranges.
        200 => part.restart()?,
        404 => return Err(part.missing(&url())),
        // It may say what it wants: who asks, for one.
        status => {
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_TOLD_BYTES).collect();
            let body = tokio::time::timeout_at(pace.deadline, body).await.map_err(|_| slow())?;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let told = Answer { status, headers: head.headers, body }.text();
            return Err(FetchError::Answer { url: url(), told: told.err().unwrap_or_default() });
        }
    }
    let broken = |reason: String| NetError::Unreachable { url: url(), reason };
    let mut body = answer.into_body();
    while part.size < size {
        let nothing = pace.patience.nothing;
        let until = pace.deadline.min(Instant::now() + nothing);
        let next = tokio::time::timeout_at(until, body.frame()).await;
        let frame = match next {
            Err(_) if until == pace.deadline => return Err(slow()),
            Err(_) => return Err(broken(format!("nothing for {nothing:?}")).into()),
            Ok(None) => return Err(broken("the weights ended too early".to_owned()).into()),
            Ok(Some(Err(error))) => return Err(broken(error.to_string()).into()),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers are none.
        let Ok(data) = frame.into_data() else { continue };
        if !part.take(&data)? {
            return Err(part.wrong_bytes(&url()));
        }
        pace.got_to(part.size);
        bytes(part.size, size);
    }
    Ok(())
}

/// What has come of some weights, in a file of its own beside where they are to be: the next call goes on from it.
struct Part<'a> {
    path: PathBuf,
    file: File,
    size: u64,
    model: &'a Model,
}

impl<'a> Part<'a> {
    fn open(out: &Path, model: &'a Model) -> Result<Self, FetchError> {
        if out.is_dir() {
            let source = io::Error::new(io::ErrorKind::IsADirectory, "it is a folder");
            return Err(FetchError::io("write", out)(source));
        }
        // Of which weights it is a part, its name says.
        let mut name: OsString = out.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:.16}.part", model.digest.to_string()));
        let path = out.with_file_name(name);
        for _ in 0..OPENINGS {
            let file = open_part(&path).map_err(FetchError::io("create", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(FetchError::Busy(out.to_owned())),
                Err(TryLockError::Error(error)) => {
                    return Err(FetchError::io("lock", &path)(error));
                }
            }
            // Another process may have put it in place before it was locked here.
            if !is_at(&file, &path) {
                continue;
            }
            let size = file.metadata().map_err(FetchError::io("read", &path))?.len();
            let mut part = Self { path, file, size, model };
            if size > model.size {
                part.restart()?;
            }
            part.file.seek(SeekFrom::End(0)).map_err(FetchError::io("read", &part.path))?;
            return Ok(part);
        }
        Err(FetchError::Busy(out.to_owned()))
    }

    /// Takes what comes next, unless that is more than there is: `false`.
    fn take(&mut self, bytes: &[u8]) -> Result<bool, FetchError> {
        if bytes.len() as u64 > self.model.size - self.size {
            return Ok(false);
        }
        self.file.write_all(bytes).map_err(FetchError::io("write", &self.path))?;
        self.size += bytes.len() as u64;
        Ok(true)
    }

    fn restart(&mut self) -> Result<(), FetchError> {
        self.file.set_len(0).map_err(FetchError::io("write", &self.path))?;
        self.file.rewind().map_err(FetchError::io("write", &self.path))?;
        self.size = 0;
        Ok(())
    }

    /// Puts the file in its place, if these are the weights; else begins anew: `false`.
    fn put(&mut self, out: &Path) -> Result<bool, FetchError> {
        let found = colearn_merge::digest(&self.file);
        if found.map_err(FetchError::io("read", &self.path))? != self.model.digest.0 {
            self.restart()?;
            return Ok(false);
        }
        self.file.sync_all().map_err(FetchError::io("write", &self.path))?;
        // What was looked at is what is put in place.
        if !is_at(&self.file, &self.path) {
            let source = io::Error::other("another file was put there meanwhile");
            return Err(FetchError::io("go on with", &self.path)(source));
        }
        let renamed = colearn_files::rename(&self.path, out).map_err(io::Error::from);
        renamed.map_err(FetchError::io("put in place", out))?;
        Ok(true)
    }

    /// Leaves nothing where nothing has come.
    fn tidy(&self) {
        if self.size == 0 && is_at(&self.file, &self.path) {
            // What stays is taken up by the next call.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn missing(&self, place: &str) -> FetchError {
        FetchError::Missing { place: place.to_owned(), digest: self.model.digest }
    }

    /// Nobody goes on from what they began.
    fn wrong_bytes(&mut self, place: &str) -> FetchError {
        // What stays is looked at before it is used.
        let _ = self.restart();
        FetchError::WrongBytes { place: place.to_owned(), digest: self.model.digest }
    }
}

/// Opens a part, or begins one. Only a file of its own: whoever may write to the folder could have put a link there,
/// and what comes would be written to wherever that leads.
fn open_part(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).read(true).write(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // Whatever waits for another end is no file either.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    let found = file.metadata()?;
    #[cfg(unix)]
    let links = std::os::unix::fs::MetadataExt::nlink(&found);
    #[cfg(not(unix))]
    let links = 1;
    // None, if it was just replaced; that is seen once it is locked.
    if !found.is_file() || links > 1 {
        let told = "it is no file of its own but a link or a device; remove it";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
    }
    Ok(file)
}

/// Whether that is still the file of this name.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let (Ok(one), Ok(other)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
            return false;
        };
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        // An open file is not replaced there.
        let _ = file;
        path.exists()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    use super::*;

    const BYTES: &[u8] = b"eight by";

    fn model() -> Model {
        let digest = Digest(colearn_merge::digest(&BYTES).unwrap());
        Model { digest, size: BYTES.len() as u64, media_type: "x".into() }
    }

    /// A server that knows of no ranges. It sends so many bytes, one answer after the other, and closes; or then
    /// sends nothing more, until the other end is gone.
    fn server(sends: Vec<usize>, closes: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for (stream, sends) in listener.incoming().zip(sends) {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let head = "HTTP/1.1 200 x\r\ncontent-length: 8\r\nconnection: close\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(&BYTES[..sends]).unwrap();
                if !closes {
                    lines.next();
                }
            }
        });
        url
    }

    fn fetched(urls: &[String], out: &Path, patience: Patience) -> Result<(), FetchError> {
        let model = model();
        let mut part = Part::open(out, &model)?;
        let place = Place::new(&urls.join(","));
        from_any_node(urls, &place, &mut part, out, &|_, _| {}, patience)
    }

    #[test]
    fn a_server_that_begins_anew_each_time_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        // More after less is no progress where it was that far before.
        let sends = [3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 8].to_vec();
        let error = fetched(&[server(sends, true)], &dir.path().join("out"), PATIENCE).unwrap_err();
        assert!(matches!(error, FetchError::Net(_)), "{error}");
    }

    #[test]
    fn a_server_that_gets_nowhere_is_left_for_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let patience = Patience { part: Duration::from_millis(100), ..PATIENCE };
        let slow = server(vec![1], false);
        let error = fetched(std::slice::from_ref(&slow), &out, patience).unwrap_err();
        assert!(matches!(error, FetchError::Slow(_)), "{error}");
        let patience = Patience { part: Duration::from_millis(500), ..PATIENCE };
        fetched(&[server(vec![1], false), server(vec![8], true)], &out, patience).unwrap();
        assert_eq!(std::fs::read(out).unwrap(), BYTES);
    }

    #[test]
    #[cfg(unix)]
    fn a_part_is_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (out, precious) = (dir.path().join("out"), dir.path().join("precious"));
        let model = model();
        let path = dir.path().join(format!("out.{:.16}.part", model.digest.to_string()));
        std::fs::write(&precious, "of somebody else").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        assert!(matches!(Part::open(&out, &model), Err(FetchError::Io { .. })));
        std::fs::remove_file(&path).unwrap();
        std::fs::hard_link(&precious, &path).unwrap();
        assert!(matches!(Part::open(&out, &model), Err(FetchError::Io { .. })));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(std::fs::read(&precious).unwrap(), b"of somebody else");

        // Another file in its place is neither put in place nor removed.
        let mut part = Part::open(&out, &model).unwrap();
        assert!(part.take(BYTES).unwrap());
        std::fs::rename(&precious, &path).unwrap();
        assert!(matches!(part.put(&out), Err(FetchError::Io { .. })));
        part.restart().unwrap();
        part.tidy();
        assert!(path.exists() && !out.exists());
    }
}
