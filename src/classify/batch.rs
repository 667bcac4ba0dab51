//! A slab of tokenised texts → batches of bounded padded size. Pure.
//!
//! Sorting by length first keeps padding near nothing; a batch is a budget of padded tokens, not a number of texts.

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

/// A padded batch: `ids` and `mask` are row-major, rows × `width`.
#[derive(Debug, Clone)]
pub struct Batch {
    /// For each row, the index of its text in the slab.
    pub places: Vec<usize>,
    pub width: usize,
    pub ids: Vec<i64>,
    pub mask: Vec<i64>,
    pub real_tokens: usize,
}

impl Batch {
    pub fn rows(&self) -> usize {
        self.places.len()
    }
}

/// Cuts a slab into batches, longest texts first. Every text is in exactly one batch.
pub fn plan(texts: &[Encoded], limits: Limits, pad_id: i64) -> Vec<Batch> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&place| (std::cmp::Reverse(texts[place].ids.len()), place));
    let mut batches = Vec::new();
    let mut rest = order.as_slice();
    while let Some(&longest) = rest.first() {
        let width = texts[longest].ids.len().max(1);
        let rows = (limits.tokens / width).clamp(1, limits.texts).min(rest.len());
        let (places, left) = rest.split_at(rows);
        batches.push(pad(texts, places, width, pad_id));
        rest = left;
    }
    batches
}

fn pad(texts: &[Encoded], places: &[usize], width: usize, pad_id: i64) -> Batch {
    let mut ids = Vec::with_capacity(places.len() * width);
    let mut mask = Vec::with_capacity(places.len() * width);
    let mut real_tokens = 0;
    for (row, &place) in places.iter().enumerate() {
        let text = &texts[place].ids;
        real_tokens += text.len();
        ids.extend(text.iter().map(|&id| i64::from(id)));
        mask.resize(row * width + text.len(), 1);
        ids.resize((row + 1) * width, pad_id);
        mask.resize((row + 1) * width, 0);
    }
    Batch { places: places.to_vec(), width, ids, mask, real_tokens }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let batches = plan(&encoded, Limits { texts, tokens }, 0);
            let mut seen: Vec<usize> = batches.iter().flat_map(|batch| batch.places.clone()).collect();
            seen.sort_unstable();
            proptest::prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &batches {
                proptest::prop_assert!(batch.rows() <= texts);
                proptest::prop_assert!(batch.rows() == 1 || batch.ids.len() <= tokens);
                proptest::prop_assert_eq!(batch.ids.len(), batch.rows() * batch.width);
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
        let batches = plan(&encoded, Limits { texts: 32, tokens: 2048 }, 0);
        let (real, all) = batches.iter().fold((0, 0), |(real, all), batch| (real + batch.real_tokens, all + batch.ids.len()));
        assert!(real as f64 / all as f64 > 0.95, "{real} of {all}");
    }
}
