//! Converts the log in a folder into another folder, and reads the result to its end: `convert_log SOURCE DEST segments|data-files`.

use burrow_maintnerd::convert::{Target, convert};
use burrow_maintnerd::verify::verify;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [source, dest, form] = args.as_slice() else { return Err("usage: convert_log SOURCE DEST segments|data-files".into()) };
    let target = if form == "data-files" { Target::DataFiles } else { Target::Segments };
    let made = convert(source.as_ref(), dest.as_ref(), target, &mut |progress| eprintln!("{} of {} bytes", progress.bytes_done, progress.bytes))?;
    println!("{made:?}");
    println!("{:?}", verify(dest.as_ref())?);
    Ok(())
}
