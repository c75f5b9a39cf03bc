//! `fields` and `delete`.

use crate::exec::predicate::RecordView;
use crate::exec::row::Row;
use crate::exec::target::Target;
use crate::query::ast::FieldPattern;
use std::borrow::Cow;

/// Keeps the fields that the patterns name, in their order, each once, under the names that were asked for.
pub(super) fn keep(row: Row, patterns: &[FieldPattern]) -> Row {
    let mut kept = Row::default();
    for pattern in patterns {
        let has = |kept: &Row, name: &str| kept.cells.iter().any(|c| *c.name == *name);
        if pattern.prefix {
            for cell in row.cells.iter().filter(|c| c.name.starts_with(&*pattern.name)) {
                if !has(&kept, &cell.name) {
                    kept.cells.push(cell.clone());
                }
            }
        } else if !has(&kept, &pattern.name)
            && let Some((tag, text)) = row.value(&Target::of(&pattern.name))
        {
            // A name of its own for each row would take as much as a short value.
            let own = row.cells.iter().find(|c| *c.name == *pattern.name);
            let name = own.map_or_else(|| (&*pattern.name).into(), |c| c.name.clone());
            let text = match text {
                Cow::Borrowed(text) => text.into(),
                Cow::Owned(text) => text.into_boxed_str(),
            };
            kept.push(name, tag, text);
        }
    }
    kept
}

/// Drops the fields that the patterns name.
pub(super) fn drop(row: &mut Row, patterns: &[FieldPattern]) {
    for pattern in patterns {
        if pattern.prefix {
            row.cells.retain(|c| !c.name.starts_with(&*pattern.name));
        } else if let Some(place) = row.place(&Target::of(&pattern.name)) {
            row.cells.remove(place);
        }
    }
}
