//! Clips: made by ffmpeg, once per build directory, and real ones where they are at hand.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use super::tools;

/// How one clip is made.
pub(crate) struct Recipe {
    /// File name, its extension saying the container.
    pub(crate) name: &'static str,
    /// ffmpeg's arguments between its globals and the output.
    pub(crate) args: &'static str,
}

/// Pictures and sound that differ from moment to moment, ten seconds, as ffmpeg inputs 0 and 1.
const PICTURES: &str = "-f lavfi -i testsrc2=size=640x360:rate=25:duration=10";
const SOUND: &str = r"-f lavfi -i aevalsrc=0.2*sin(2*PI*440*t)*lt(mod(t\,1)\,0.1):s=48000:d=10";

/// H.264 as standard input wants it, a closed group every two seconds.
const H264: &str = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -g 50 -bf 2 -flags +cgop -b:v 800k";
const AAC: &str = "-c:a aac -b:a 96k";

impl Recipe {
    /// The file, made first when it is not there yet. `{pictures}`, `{sound}`, `{h264}` and `{aac}` in the arguments
    /// stand for the usual ones.
    pub(crate) fn make(&self) -> PathBuf {
        let args = self.args.replace("{pictures}", PICTURES).replace("{sound}", SOUND);
        let args = args.replace("{h264}", H264).replace("{aac}", AAC);
        cached(self.name, &args, |path| {
            tools::run(
                Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-y"]).args(args.split_whitespace()).arg(path),
            );
        })
    }
}

/// Tells makers of the same file in one process apart.
static MAKERS: AtomicU64 = AtomicU64::new(0);

/// A made file kept under the build directory, named by its recipe; another test or process may be making the same one.
fn cached(name: &str, recipe: &str, make: impl FnOnce(&Path)) -> PathBuf {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    recipe.hash(&mut hasher);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clips").join(format!("{:016x}", hasher.finish()));
    let path = dir.join(name);
    if !path.exists() {
        std::fs::create_dir_all(&dir).expect("a directory for clips");
        let maker = MAKERS.fetch_add(1, Ordering::Relaxed);
        let unfinished = dir.join(format!("{}-{maker}-{name}", std::process::id()));
        make(&unfinished);
        std::fs::rename(&unfinished, &path).expect("a finished clip");
    }
    path
}

/// An H.264 and AAC clip in MP4 of ten seconds that every upload test can use.
pub(crate) fn standard() -> PathBuf {
    Recipe { name: "standard.mp4", args: "{pictures} {sound} {h264} {aac}" }.make()
}

/// A standard clip repeated without re-encoding until it has about this many bytes.
pub(crate) fn standard_of_bytes(bytes: u64) -> PathBuf {
    let unit = Recipe {
        name: "noise.mp4",
        args: "-f lavfi -i testsrc2=size=1280x720:rate=25:duration=2,noise=alls=60:allf=t {sound} \
               -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 50 -bf 0 -b:v 20M -minrate 20M -maxrate 20M -bufsize 20M {aac} -t 2",
    };
    let unit = unit.make();
    let size = std::fs::metadata(&unit).expect("the unit's size").len();
    let times = bytes.div_ceil(size).max(1);
    cached("long.mp4", &format!("{} {times} times", unit.display()), |path| {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-y", "-stream_loop", &(times - 1).to_string(), "-i"]).arg(&unit);
        tools::run(ffmpeg.args(["-c", "copy"]).arg(path));
    })
}

/// Half a minute of 720p, real where one is at hand, else a fractal.
#[allow(dead_code, reason = "benches use it")]
pub(crate) fn half_minute_720p() -> PathBuf {
    let is_meant = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains("720p-30s"));
    real().into_iter().find(is_meant).unwrap_or_else(|| {
        let args = "-f lavfi -i mandelbrot=size=1280x720:rate=25 -f lavfi -i sine=duration=30 -t 30 -c:v libx264 -preset veryfast \
                    -pix_fmt yuv420p -g 50 {aac}";
        Recipe { name: "fractal.mp4", args }.make()
    })
}

/// Ten minutes of 720p in 100 MB: half a minute at that rate again and again.
#[allow(dead_code, reason = "benches use it")]
pub(crate) fn ten_minutes_720p() -> PathBuf {
    let source = half_minute_720p();
    let rate = "-c:v libx264 -preset medium -b:v 1200k -maxrate 1800k -bufsize 2400k -g 50 -bf 2 -c:a aac -b:a 128k";
    let ffmpeg = |before: &[&str], input: &Path, after: &str, output: &Path| {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-y"]).args(before).arg("-i").arg(input);
        tools::run(ffmpeg.args(after.split(' ')).arg(output));
    };
    let recipe = format!("{} {rate}", source.display());
    let unit = cached("unit.mp4", &recipe, |path| ffmpeg(&[], &source, rate, path));
    cached("ten-minutes.mp4", &recipe, |path| ffmpeg(&["-stream_loop", "19"], &unit, "-c copy", path))
}

/// Real clips, where they are at hand: those of the directory named by `PLAYHOUSE_TEST_CLIPS`, else of `../shared/media`.
pub(crate) fn real() -> Vec<PathBuf> {
    let dir = std::env::var_os("PLAYHOUSE_TEST_CLIPS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media"), PathBuf::from);
    let mut clips: Vec<PathBuf> = std::fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "mp4"))
        .collect();
    clips.sort();
    clips
}

/// [`half_minute_720p`] four times, in a directory.
pub(crate) fn two_minutes_720p(dir: &Path) -> PathBuf {
    let clip = dir.join("two-minutes.mp4");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-stream_loop", "3", "-i"]).arg(half_minute_720p()).args(["-c", "copy"]).arg(&clip);
    tools::run(&mut command);
    clip
}
