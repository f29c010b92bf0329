//! Markdown tables whose columns also line up on a terminal.

/// A table with a head.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these columns; the first is text, the others are numbers.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).into()] }
    }

    /// Appends a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let columns = self.rows[0].len();
        let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
        let width = |column| self.rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            for (column, width) in widths.iter().copied().enumerate() {
                let text = cell(row, column);
                let padded = if column == 0 { format!("{text:<width$}") } else { format!("{text:>width$}") };
                out.push_str(&format!("| {padded} "));
            }
            out.push_str("|\n");
            if index == 0 {
                for (column, width) in widths.iter().copied().enumerate() {
                    let line = "-".repeat(width + 1);
                    out.push_str(&if column == 0 { format!("|{line}-") } else { format!("|{line}:") });
                }
                out.push_str("|\n");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["who", "n"]);
        table.row(["a".to_owned(), "1000".to_owned()]);
        assert_eq!(table.markdown(), "| who |    n |\n|-----|-----:|\n| a   | 1000 |\n");
    }
}
