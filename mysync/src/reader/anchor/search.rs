//! Which of many files a place is in.

use crate::error::Result;

/// The last of `count` files for which `is_before` holds, which it does up to one of them and not behind it. Begins near the
/// end, where the place is in all likelihood: each question costs a look into a file.
pub(super) async fn last_before(
    count: usize,
    mut is_before: impl AsyncFnMut(usize) -> Result<bool>,
) -> Result<Option<usize>> {
    let (mut begin, mut end, mut step) = (None, count, 1);
    while begin.is_none() && end > 0 {
        let file = end.saturating_sub(step);
        match is_before(file).await? {
            true => begin = Some(file),
            false => end = file,
        }
        step *= 2;
    }
    let Some(mut begin) = begin else { return Ok(None) };
    while end - begin > 1 {
        let file = begin + (end - begin) / 2;
        match is_before(file).await? {
            true => begin = file,
            false => end = file,
        }
    }
    Ok(Some(begin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn it_is_found_wherever_it_is_and_soon_where_it_is_near_the_end() {
        for count in 0..70 {
            for before in 0..=count {
                let mut asked = Vec::new();
                let found = last_before(count, async |file| {
                    asked.push(file);
                    Ok(file < before)
                });
                let found = found.now_or_never().unwrap().unwrap();
                assert_eq!(found, before.checked_sub(1), "{before} of {count}");
                let distance = count - before + 1;
                let bound = 2 * distance.ilog2() as usize + 2;
                assert!(asked.len() <= bound, "{before} of {count}: asked {asked:?}");
            }
        }
    }
}
