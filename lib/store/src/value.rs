//! Values, rows and statements: the few types that both databases share.

use sqlx::{Column as _, Row as _, TypeInfo as _, ValueRef as _};

use crate::Error;

/// One value. Nulls keep their type because PostgreSQL wants to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A 64-bit integer (`BIGINT`).
    Int(Option<i64>),
    /// A text (`TEXT`).
    Text(Option<String>),
    /// Bytes (`BLOB`, `BYTEA`).
    Blob(Option<Vec<u8>>),
}

macro_rules! into_value {
    ($($from:ty => $variant:ident($map:expr)),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(v: $from) -> Value {
                #[allow(clippy::redundant_closure_call)]
                Value::$variant(Some(($map)(v)))
            }
        }
        impl From<Option<$from>> for Value {
            fn from(v: Option<$from>) -> Value {
                #[allow(clippy::redundant_closure_call)]
                Value::$variant(v.map($map))
            }
        }
    )*};
}
into_value! {
    i64 => Int(|v| v),
    i32 => Int(i64::from),
    u32 => Int(i64::from),
    bool => Int(i64::from),
    String => Text(|v| v),
    &str => Text(|v: &str| v.to_owned()),
    Vec<u8> => Blob(|v| v),
}
impl From<&String> for Value {
    fn from(v: &String) -> Value {
        Value::Text(Some(v.clone()))
    }
}

/// Arguments of a statement: tuples of up to sixteen values, a `Vec<Value>`, or `()`.
pub trait Args {
    /// The values in order.
    fn values(self) -> Vec<Value>;
}
impl Args for () {
    fn values(self) -> Vec<Value> {
        Vec::new()
    }
}
impl Args for Vec<Value> {
    fn values(self) -> Vec<Value> {
        self
    }
}
macro_rules! tuple_args {
    ($($name:ident)*) => {
        impl<$($name: Into<Value>),*> Args for ($($name,)*) {
            #[allow(non_snake_case)]
            fn values(self) -> Vec<Value> {
                let ($($name,)*) = self;
                vec![$($name.into()),*]
            }
        }
    };
}
tuple_args!(A);
tuple_args!(A B);
tuple_args!(A B C);
tuple_args!(A B C D);
tuple_args!(A B C D E);
tuple_args!(A B C D E F);
tuple_args!(A B C D E F G);
tuple_args!(A B C D E F G H);
tuple_args!(A B C D E F G H I);
tuple_args!(A B C D E F G H I J);
tuple_args!(A B C D E F G H I J K);
tuple_args!(A B C D E F G H I J K L);
tuple_args!(A B C D E F G H I J K L M);
tuple_args!(A B C D E F G H I J K L M N);
tuple_args!(A B C D E F G H I J K L M N O);
tuple_args!(A B C D E F G H I J K L M N O P);

/// A statement with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub(crate) sql: &'static str,
    pub(crate) args: Vec<Value>,
}

/// A statement with its arguments; `$1`, `$2` … name them.
pub fn sql(sql: &'static str, args: impl Args) -> Statement {
    Statement { sql, args: args.values() }
}

/// A row of an answer. Columns are reached by position.
#[derive(Debug, Clone)]
pub struct Row(pub(crate) Vec<Value>);

impl Row {
    fn mismatch(&self, column: usize, expected: &'static str) -> Error {
        let found = match self.0.get(column) {
            None => "no such column",
            Some(Value::Int(None) | Value::Text(None) | Value::Blob(None)) => "null",
            Some(Value::Int(_)) => "integer",
            Some(Value::Text(_)) => "text",
            Some(Value::Blob(_)) => "bytes",
        };
        Error::Type { column, expected, found }
    }

    /// An integer.
    ///
    /// # Errors
    /// [`Error::Type`] if it is null or not an integer.
    pub fn int(&self, column: usize) -> Result<i64, Error> {
        self.opt_int(column)?.ok_or_else(|| self.mismatch(column, "integer"))
    }

    /// An integer or null.
    ///
    /// # Errors
    /// [`Error::Type`] if it is something else.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, Error> {
        match self.0.get(column) {
            Some(Value::Int(v)) => Ok(*v),
            Some(Value::Text(None) | Value::Blob(None)) => Ok(None),
            _ => Err(self.mismatch(column, "integer")),
        }
    }

    /// A truth value, kept as 0 or 1.
    ///
    /// # Errors
    /// [`Error::Type`] if it is null or not an integer.
    pub fn bool(&self, column: usize) -> Result<bool, Error> {
        Ok(self.int(column)? != 0)
    }

    /// A text.
    ///
    /// # Errors
    /// [`Error::Type`] if it is null or not a text.
    pub fn text(&self, column: usize) -> Result<&str, Error> {
        self.opt_text(column)?.ok_or_else(|| self.mismatch(column, "text"))
    }

    /// A text or null.
    ///
    /// # Errors
    /// [`Error::Type`] if it is something else.
    pub fn opt_text(&self, column: usize) -> Result<Option<&str>, Error> {
        match self.0.get(column) {
            Some(Value::Text(v)) => Ok(v.as_deref()),
            Some(Value::Int(None) | Value::Blob(None)) => Ok(None),
            _ => Err(self.mismatch(column, "text")),
        }
    }

    /// Bytes.
    ///
    /// # Errors
    /// [`Error::Type`] if it is null or not bytes.
    pub fn blob(&self, column: usize) -> Result<&[u8], Error> {
        match self.0.get(column) {
            Some(Value::Blob(Some(v))) => Ok(v),
            _ => Err(self.mismatch(column, "bytes")),
        }
    }
}

type Query<'q, D> = sqlx::query::Query<'q, D, <D as sqlx::Database>::Arguments>;

pub(crate) fn bind_sqlite(query: Query<'_, sqlx::Sqlite>, value: Value) -> Query<'_, sqlx::Sqlite> {
    match value {
        Value::Int(v) => query.bind(v),
        Value::Text(v) => query.bind(v),
        Value::Blob(v) => query.bind(v),
    }
}

pub(crate) fn bind_postgres(query: Query<'_, sqlx::Postgres>, value: Value) -> Query<'_, sqlx::Postgres> {
    match value {
        Value::Int(v) => query.bind(v),
        // PostgreSQL keeps no NUL in a text; a title that holds one must not stop its whole batch.
        Value::Text(Some(v)) if v.contains('\0') => query.bind(v.replace('\0', "\u{fffd}")),
        Value::Text(v) => query.bind(v),
        Value::Blob(v) => query.bind(v),
    }
}

pub(crate) fn from_sqlite(row: &sqlx::sqlite::SqliteRow) -> Result<Row, Error> {
    let mut values = Vec::with_capacity(row.len());
    for column in 0..row.len() {
        let raw = row.try_get_raw(column)?;
        // SQLite's types belong to values, not to columns.
        values.push(if raw.is_null() {
            Value::Int(None)
        } else {
            match raw.type_info().name() {
                "INTEGER" | "BIGINT" | "BOOLEAN" => Value::Int(row.try_get(column)?),
                "REAL" => Value::Int(Some(row.try_get::<f64, _>(column)? as i64)),
                "BLOB" => Value::Blob(row.try_get(column)?),
                _ => Value::Text(row.try_get(column)?),
            }
        });
    }
    Ok(Row(values))
}

pub(crate) fn from_postgres(row: &sqlx::postgres::PgRow) -> Result<Row, Error> {
    let mut values = Vec::with_capacity(row.len());
    for column in row.columns() {
        let at = column.ordinal();
        values.push(match column.type_info().name() {
            "INT8" => Value::Int(row.try_get(at)?),
            "INT4" => Value::Int(row.try_get::<Option<i32>, _>(at)?.map(i64::from)),
            "BOOL" => Value::Int(row.try_get::<Option<bool>, _>(at)?.map(i64::from)),
            "FLOAT8" => Value::Int(row.try_get::<Option<f64>, _>(at)?.map(|v| v as i64)),
            "BYTEA" => Value::Blob(row.try_get(at)?),
            _ => Value::Text(row.try_get(at)?),
        });
    }
    Ok(Row(values))
}
