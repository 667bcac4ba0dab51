//! A slab of tokenised texts → batches of bounded padded size. Pure.
//!
//! Sorting by length first keeps padding near nothing; a batch is a budget of padded tokens, not a number of texts. Where
//! a device prepares something for every shape that it meets, shapes are rounded up to few ([`Shapes::Few`]).

/// One tokenised text.
#[derive(Debug, Clone)]
pub struct Encoded {
    pub ids: Vec<u32>,
    pub truncated: bool,
    /// Tokens that the vocabulary does not have, among those of the text itself, 0 to 1.
    pub unknown_share: f64,
}

/// What a batch may hold. A single text over `tokens` makes a batch of its own.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub texts: usize,
    pub tokens: usize,
}

/// Rows and widths that batches come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shapes {
    /// As many rows as texts, as wide as the longest.
    Any,
    /// Widths are powers of two from 16 on and three quarters of them; rows as many as the budget has for the width, or a
    /// half, a quarter or an eighth of that: at most 44 shapes up to 512 tokens. A GPU takes memory, and makes a plan, for
    /// each that it meets.
    Few,
}

/// What a model's batches are like.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    pub shapes: Shapes,
    /// Tokens that the model reads at most.
    pub longest: usize,
    pub pad_id: i64,
}

/// A padded batch: `ids` and `mask` are row-major, `rows` × `width`.
#[derive(Debug, Clone)]
pub struct Batch {
    /// For each of the first rows, the index of its text in the slab. Rows behind them are padding.
    pub places: Vec<usize>,
    pub rows: usize,
    pub width: usize,
    pub ids: Vec<i64>,
    pub mask: Vec<i64>,
    pub real_tokens: usize,
}

/// Cuts a slab into batches, longest texts first. Every text is in exactly one batch.
pub fn plan(texts: &[Encoded], limits: Limits, form: Form) -> Vec<Batch> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&place| (std::cmp::Reverse(texts[place].ids.len()), place));
    let mut batches = Vec::new();
    let mut rest = order.as_slice();
    while let Some(&longest) = rest.first() {
        let longest = texts[longest].ids.len().max(1);
        let width = match form.shapes {
            Shapes::Any => longest,
            Shapes::Few => rounded_up(longest).min(form.longest.max(longest)),
        };
        let most = (limits.tokens / width).clamp(1, limits.texts);
        let (places, left) = rest.split_at(most.min(rest.len()));
        let rows = match form.shapes {
            Shapes::Any => places.len(),
            Shapes::Few => (0..4).rev().map(|halvings| most.div_ceil(1 << halvings)).find(|rows| *rows >= places.len()).unwrap_or(most),
        };
        batches.push(pad(texts, places, rows, width, form.pad_id));
        rest = left;
    }
    batches
}

/// The next power of two from 16 on, or three quarters of it.
fn rounded_up(width: usize) -> usize {
    let power = width.next_power_of_two().max(16);
    if power > 16 && width <= power / 4 * 3 { power / 4 * 3 } else { power }
}

fn pad(texts: &[Encoded], places: &[usize], rows: usize, width: usize, pad_id: i64) -> Batch {
    let mut ids = Vec::with_capacity(rows * width);
    let mut mask = Vec::with_capacity(rows * width);
    let mut real_tokens = 0;
    for (row, &place) in places.iter().enumerate() {
        let text = &texts[place].ids;
        real_tokens += text.len();
        ids.extend(text.iter().map(|&id| i64::from(id)));
        mask.resize(row * width + text.len(), 1);
        ids.resize((row + 1) * width, pad_id);
        mask.resize((row + 1) * width, 0);
    }
    for row in places.len()..rows {
        ids.resize((row + 1) * width, pad_id);
        // An attention over nothing would be 0 / 0.
        mask.push(1);
        mask.resize((row + 1) * width, 0);
    }
    Batch { places: places.to_vec(), rows, width, ids, mask, real_tokens }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Form = Form { shapes: Shapes::Any, longest: 512, pad_id: 0 };
    const FEW: Form = Form { shapes: Shapes::Few, ..ANY };

    #[test]
    fn few_widths_are_at_most_a_third_wider_and_never_wider_than_the_model() {
        let widths: std::collections::BTreeSet<usize> = (1..=512).map(rounded_up).collect();
        assert_eq!(widths, [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512].into());
        assert!((16..=512).all(|width| rounded_up(width) >= width && rounded_up(width) * 2 <= width * 3));
        let long = Encoded { ids: vec![1; 500], truncated: false, unknown_share: 0.0 };
        let batches = plan(&[long], Limits { texts: 8, tokens: 2048 }, Form { longest: 500, ..FEW });
        assert_eq!((batches[0].rows, batches[0].width), (1, 500));
    }

    proptest::proptest! {
        #[test]
        fn batching_loses_and_repeats_nothing_and_keeps_its_budget(
            lengths in proptest::collection::vec(0usize..300, 0..200),
            texts in 1usize..40,
            tokens in 1usize..4000,
        ) {
            let encoded: Vec<Encoded> = lengths
                .iter()
                .enumerate()
                .map(|(place, &length)| Encoded { ids: vec![place as u32 + 1; length], truncated: false, unknown_share: 0.0 })
                .collect();
            let few: std::collections::BTreeSet<(usize, usize)> = plan(&encoded, Limits { texts, tokens }, FEW)
                .iter()
                .map(|batch| {
                    assert!(batch.places.len() <= batch.rows && batch.ids.len() == batch.rows * batch.width);
                    assert!(batch.rows == 1 || batch.ids.len() <= tokens);
                    assert!(batch.mask.chunks(batch.width).all(|row| row[0] == 1 || row.iter().all(|&on| on == 0)));
                    assert!(batch.mask.chunks(batch.width).skip(batch.places.len()).all(|row| row.iter().sum::<i64>() == 1));
                    let of_text = |(place, row): (&usize, &[i64])| row[..lengths[*place]].iter().all(|&id| id == *place as i64 + 1);
                    assert!(batch.places.iter().zip(batch.ids.chunks(batch.width)).all(of_text));
                    (batch.rows, batch.width)
                })
                .collect();
            proptest::prop_assert!(few.len() <= 44, "{:?}", few);
            let batches = plan(&encoded, Limits { texts, tokens }, ANY);
            let mut seen: Vec<usize> = batches.iter().flat_map(|batch| batch.places.clone()).collect();
            seen.sort_unstable();
            proptest::prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &batches {
                proptest::prop_assert!(batch.rows == batch.places.len() && batch.rows <= texts);
                proptest::prop_assert!(batch.rows == 1 || batch.ids.len() <= tokens);
                proptest::prop_assert_eq!(batch.ids.len(), batch.rows * batch.width);
                for (row, &place) in batch.places.iter().enumerate() {
                    let cells = row * batch.width..(row + 1) * batch.width;
                    let real = &encoded[place].ids;
                    let mask = &batch.mask[cells.clone()];
                    proptest::prop_assert_eq!(mask.iter().sum::<i64>() as usize, real.len());
                    for (cell, (&id, &on)) in batch.ids[cells].iter().zip(mask).enumerate() {
                        proptest::prop_assert_eq!(on == 1, cell < real.len());
                        proptest::prop_assert_eq!(id, if on == 1 { i64::from(real[cell]) } else { 0 });
                    }
                }
            }
        }
    }

    #[test]
    fn sorting_by_length_keeps_padding_low() {
        let text = |i: usize| Encoded { ids: vec![1; 8 + (i * 37) % 50], truncated: false, unknown_share: 0.0 };
        let encoded: Vec<Encoded> = (0..512).map(text).collect();
        let batches = plan(&encoded, Limits { texts: 32, tokens: 2048 }, ANY);
        let (real, all) = batches.iter().fold((0, 0), |(real, all), batch| (real + batch.real_tokens, all + batch.ids.len()));
        assert!(real as f64 / all as f64 > 0.95, "{real} of {all}");
    }
}
