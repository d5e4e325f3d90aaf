//! A grid of cells with margins, spans, alignment and columns that may not grow; laid out as the reference lays it out (spec §6), to the byte.

/// Where a text stands in its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    /// Padding on the left only.
    Center,
    Right,
}

/// What stands before a cell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Margin {
    text: &'static str,
    width: usize,
}

impl Margin {
    pub(super) const NONE: Margin = Margin { text: "", width: 0 };
    pub(super) const SPACE: Margin = Margin { text: " ", width: 1 };
    pub(super) const SPACES: Margin = Margin { text: "  ", width: 2 };
    pub(super) const BAR: Margin = Margin { text: " │ ", width: 3 };
    pub(super) const EDGE: Margin = Margin { text: " │", width: 2 };
    pub(super) const PLUS_MINUS: Margin = Margin { text: " ± ", width: 3 };
}

#[derive(Debug)]
struct Cell {
    row: usize,
    col: usize,
    span: usize,
    /// Where the text ends in the grid's; it begins where the one before ends.
    end: usize,
    width: usize,
    /// Neither text nor margin shows anything.
    blank: bool,
    margin: Margin,
    align: Align,
}

/// Cells, added row by row from left to right.
#[derive(Debug, Default)]
pub(super) struct Grid {
    cells: Vec<Cell>,
    /// All texts, one behind the other: a table of a million cells is not a million allocations.
    text: Vec<u8>,
    cols: usize,
    /// Columns that a spanning cell must not widen.
    rigid: Vec<bool>,
    row: usize,
    col: usize,
}

impl Grid {
    /// Begins a row.
    pub(super) fn row(&mut self) {
        if !self.cells.is_empty() {
            self.row += 1;
        }
        self.col = 0;
    }

    /// The next cell goes here.
    pub(super) fn at(&mut self, col: usize) -> &mut Grid {
        self.col = col;
        self
    }

    /// Adds a cell with the usual margin: a space, but none at the left edge and for nothing.
    pub(super) fn cell(&mut self, text: impl AsRef<[u8]>, align: Align) {
        let margin = if self.col == 0 || text.as_ref().is_empty() { Margin::NONE } else { Margin::SPACE };
        self.span(1, text, align, margin);
    }

    /// Adds a cell.
    pub(super) fn span(&mut self, span: usize, text: impl AsRef<[u8]>, align: Align, margin: Margin) {
        let text = text.as_ref();
        self.text.extend_from_slice(text);
        let blank = blank(text) && blank(margin.text.as_bytes());
        self.cells.push(Cell { row: self.row, col: self.col, span, end: self.text.len(), width: width(text), blank, margin, align });
        self.col += span;
        self.cols = self.cols.max(self.col);
    }

    /// Makes columns rigid.
    pub(super) fn rigid(&mut self, columns: std::ops::Range<usize>) {
        if self.rigid.len() < columns.end {
            self.rigid.resize(columns.end, false);
        }
        self.rigid.get_mut(columns).into_iter().flatten().for_each(|rigid| *rigid = true);
    }

    /// Column the next cell would go to.
    pub(super) fn col(&self) -> usize {
        self.col
    }

    /// Lays out.
    pub(super) fn render(&self) -> Vec<u8> {
        let mut margins = vec![0; self.cols];
        for cell in &self.cells {
            if let Some(margin) = margins.get_mut(cell.col) {
                *margin = cell.margin.width.max(*margin);
            }
        }
        let widths = self.widths(&margins);
        let mut offsets = Vec::with_capacity(widths.len() + 1);
        let mut offset = 0;
        offsets.push(0);
        for width in &widths {
            offset += width;
            offsets.push(offset);
        }
        let offset_of = |col: usize| offsets.get(col).copied().unwrap_or(offset);
        let (mut row, mut at) = (0, 0);
        let mut line = Vec::new();
        let mut begin = 0;
        for cell in &self.cells {
            let text = self.text.get(begin..cell.end).unwrap_or_default();
            begin = cell.end;
            if cell.blank {
                // So that nothing ends in spaces.
                continue;
            }
            while row < cell.row {
                line.push(b'\n');
                (row, at) = (row + 1, 0);
            }
            let margin = margins.get(cell.col).copied().unwrap_or(0);
            let start = offset_of(cell.col);
            // A text that rigid columns have no room for reaches into the next cell; that moves by as much as is missing, and forgets it, as in the reference.
            let gap = start.abs_diff(at) + margin - cell.margin.width;
            spaces(&mut line, gap);
            line.extend_from_slice(cell.margin.text.as_bytes());
            at = start + margin;
            let room = offset_of(cell.col + cell.span).saturating_sub(start + margin);
            let free = room.saturating_sub(cell.width);
            let padding = match cell.align {
                Align::Left => 0,
                Align::Center => free / 2,
                Align::Right => free,
            };
            spaces(&mut line, padding);
            line.extend_from_slice(text);
            at += padding + cell.width;
        }
        if !self.cells.is_empty() {
            line.push(b'\n');
        }
        line
    }

    /// Widths of the columns, margins included. Cells are placed by growing span; one that does not fit widens its columns, the widest first, each to the part
    /// that is left of what is missing, rounded up.
    fn widths(&self, margins: &[usize]) -> Vec<usize> {
        let mut widths = vec![0_usize; self.cols];
        let needed = |cell: &Cell| cell.width + margins.get(cell.col).copied().unwrap_or(0);
        let mut spanning = Vec::new();
        for cell in &self.cells {
            if cell.span > 1 {
                spanning.push(cell);
            } else if let Some(width) = widths.get_mut(cell.col) {
                *width = needed(cell).max(*width);
            }
        }
        spanning.sort_by_key(|cell| cell.span);
        for cell in spanning {
            let needed = needed(cell);
            let columns = cell.col..cell.col + cell.span;
            let total: usize = widths.get(columns.clone()).unwrap_or_default().iter().sum();
            if total >= needed {
                continue;
            }
            let mut left = needed as i64;
            let mut soft = Vec::with_capacity(cell.span);
            for col in columns {
                if self.rigid.get(col).copied().unwrap_or(false) {
                    left -= widths.get(col).copied().unwrap_or(0) as i64;
                } else {
                    soft.push(col);
                }
            }
            soft.sort_by_key(|&col| std::cmp::Reverse(widths.get(col).copied().unwrap_or(0)));
            let count = soft.len() as i64;
            for (col, others) in soft.into_iter().zip((1..=count).rev()) {
                let share = (left + others - 1) / others;
                if let Some(width) = widths.get_mut(col) {
                    *width = (*width).max(usize::try_from(share).unwrap_or(0));
                    left -= *width as i64;
                }
            }
        }
        widths
    }
}

fn spaces(line: &mut Vec<u8>, count: usize) {
    line.resize(line.len() + count, b' ');
}

fn blank(text: &[u8]) -> bool {
    match text.first() {
        None => true,
        Some(b'!'..=b'~') => false,
        Some(_) => std::str::from_utf8(text).is_ok_and(|text| text.trim().is_empty()),
    }
}

/// Width in code points; a byte that is no part of one counts as one.
fn width(text: &[u8]) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    // As Go counts runes: every byte of an incomplete sequence for itself.
    text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(grid: &Grid) -> String {
        String::from_utf8(grid.render()).unwrap()
    }

    #[test]
    fn spans_widen_their_columns() {
        let mut grid = Grid::default();
        grid.row();
        grid.at(1).span(3, "wide header text", Align::Center, Margin::BAR);
        grid.row();
        grid.cell("row", Align::Left);
        grid.at(1).cell("1", Align::Right);
        grid.cell("22", Align::Right);
        grid.cell("", Align::Left);
        assert_eq!(shown(&grid), "    │ wide header text\nrow      1    22\n");
    }

    #[test]
    fn rigid_columns_stay_narrow_and_nothing_ends_in_spaces() {
        let mut grid = Grid::default();
        grid.row();
        grid.span(2, "0123456789", Align::Left, Margin::NONE);
        grid.rigid(1..2);
        grid.row();
        grid.cell("a", Align::Right);
        grid.cell("b", Align::Right);
        grid.cell(" ", Align::Left);
        assert_eq!(shown(&grid), "0123456789\n       a b\n");
    }

    #[test]
    fn widths_are_code_points() {
        assert_eq!((width("µé".as_bytes()), width(b"a\xff\xfe"), width(b"\xe2\x82")), (2, 3, 2));
    }
}
