//! The program's own pages. The kernel maps sixteen at once for each that is used, so that after the start nearly all of the
//! program counts as resident, though a tenth of it is ever used again.

use std::fs;
use std::ops::Range;

/// Unmaps the code of the program. It stays in the page cache: what is used is mapped again, at half a microsecond for each
/// sixteen pages, and the rest is the first thing that the kernel may reclaim.
pub(super) fn let_go() {
    let here = let_go as fn() as usize;
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Some(code) = maps
        .lines()
        .filter_map(range)
        .find(|code| code.contains(&here))
    else {
        return;
    };
    #[expect(unsafe_code, reason = "a call about the program's own code")]
    // SAFETY: the range is a mapping of a file that nobody writes to, so that all of it can be read from there again.
    unsafe {
        let start = std::ptr::without_provenance_mut(code.start);
        libc::madvise(start, code.len(), libc::MADV_DONTNEED);
    }
}

/// The addresses of a mapping of a file from which code is run, and which is not written to.
fn range(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (addresses, rights) = (words.next()?, words.next()?);
    let path = words.nth(3)?;
    let (start, end) = addresses.split_once('-')?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    (rights == "r-xp" && path.starts_with('/')).then_some(parse(start)?..parse(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_a_file_is_let_go_of() {
        let code = "55d0a0100000-55d0a0a00000 r-xp 00100000 fe:00 1234   /usr/local/bin/tweedd";
        assert_eq!(range(code), Some(0x55d0_a010_0000..0x55d0_a0a0_0000));
        for other in [
            "55d0a0100000-55d0a0a00000 rwxp 00100000 fe:00 1234 /usr/local/bin/tweedd",
            "55d0a0100000-55d0a0a00000 r--p 00100000 fe:00 1234 /usr/local/bin/tweedd",
            "7ffd1a5f2000-7ffd1a5f4000 r-xp 00000000 00:00 0 [vdso]",
            "55d0a0100000-55d0a0a00000 r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(range(other), None, "{other}");
        }
    }

    #[test]
    fn the_program_runs_on_with_less_of_it_resident() {
        let resident = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("RssFile:"));
            let kib = line.unwrap().trim().trim_end_matches(" kB").to_owned();
            kib.parse::<u64>().unwrap()
        };
        // Other tests of this program run at the same time, and map what they use.
        let less = (0..10).any(|_| {
            let before = resident();
            let_go();
            resident() < before
        });
        assert!(less);
    }
}
